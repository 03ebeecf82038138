#include "directory/nesting.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "directory/schema.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kNumbersMax = 1'000'000;

constexpr Statement kDirect{"nesting.direct",
                            "SELECT kind, member_n FROM member WHERE group_n = $1 "
                            "ORDER BY kind, member_n"};

}  // namespace

Result<DirectMembers> direct_members(Tx& tx, GroupN group) {
  DirectMembers direct;
  RETURN_IF_ERROR(tx.query(
      kDirect,
      [&direct](const Row& row) -> Result<void> {
        (row.integer(0) == row::kUser ? direct.people : direct.groups).push_back(row.integer(1));
        return {};
      },
      group));
  return direct;
}

Result<std::vector<UserN>> Nesting::people(Tx& tx, GroupN group) {
  std::unordered_set<UserN> found;
  std::unordered_set<GroupN> seen{group};
  std::vector<GroupN> left{group};
  const auto follow = [&](const DirectMembers& direct) {
    found.insert(direct.people.begin(), direct.people.end());
    for (const GroupN nested : direct.groups) {
      if (seen.insert(nested).second) left.push_back(nested);
    }
  };
  while (!left.empty()) {
    const GroupN next = left.back();
    left.pop_back();
    const auto known = known_.find(next);
    if (known != known_.end()) {
      follow(known->second);
      continue;
    }
    ASSIGN_OR_RETURN(DirectMembers direct, direct_members(tx, next));
    follow(direct);
    const std::size_t numbers = direct.people.size() + direct.groups.size() + 1;
    if (numbers_ + numbers > kNumbersMax) continue;
    numbers_ += numbers;
    known_.emplace(next, std::move(direct));
  }
  std::vector<UserN> people(found.begin(), found.end());
  std::ranges::sort(people);
  return people;
}

}  // namespace roster::directory
