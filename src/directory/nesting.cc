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
                            "SELECT kind, member_n FROM member WHERE group_n = $1"};

}  // namespace

Result<Nesting::Direct> Nesting::read(Tx& tx, GroupN group) {
  Direct direct;
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
  while (!left.empty()) {
    const GroupN next = left.back();
    left.pop_back();
    Direct just_read;
    auto known = known_.find(next);
    if (known == known_.end()) {
      ASSIGN_OR_RETURN(just_read, read(tx, next));
      const std::size_t numbers = just_read.people.size() + just_read.groups.size() + 1;
      if (numbers_ + numbers <= kNumbersMax) {
        numbers_ += numbers;
        known = known_.emplace(next, std::move(just_read)).first;
      }
    }
    const Direct& direct = known != known_.end() ? known->second : just_read;
    found.insert(direct.people.begin(), direct.people.end());
    for (const GroupN nested : direct.groups) {
      if (seen.insert(nested).second) left.push_back(nested);
    }
  }
  std::vector<UserN> people(found.begin(), found.end());
  std::ranges::sort(people);
  return people;
}

}  // namespace roster::directory
