#include "directory/scope.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "directory/query.h"
#include "directory/schema.h"
#include "directory/views.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

using Numbers = std::set<std::int64_t>;

constexpr Statement kNamedGroups{"scope.named_groups",
                                 "SELECT group_n FROM org_view_group WHERE org = $1"};

constexpr Statement kRenew{"scope.renew",
                           "UPDATE org_view SET tag = $3 WHERE org = $1 AND name IN "
                           "(SELECT view FROM org_view_group WHERE org = $1 AND group_n = $2)"};

/// Rows of one write. The history that nodes may be behind is ten times as long.
constexpr std::size_t kRowsMax = 100'000;

const SetStatement& children() {
  static const SetStatement statement(
      "scope.children", "SELECT member_n FROM member WHERE kind = 2 AND group_n IN ", 0, "");
  return statement;
}

const SetStatement& parents() {
  static const SetStatement statement(
      "scope.parents", "SELECT group_n FROM member WHERE kind = 2 AND member_n IN ", 0, "");
  return statement;
}

const SetStatement& people() {
  static const SetStatement statement(
      "scope.people", "SELECT member_n FROM member WHERE kind = 1 AND group_n IN ", 0, "");
  return statement;
}

/// `start` and all that `step` leads to. Groups may be nested in a circle: each is visited once.
Result<Numbers> reachable(Tx& tx, std::span<const std::int64_t> start, const SetStatement& step) {
  Numbers seen(start.begin(), start.end());
  std::vector<std::int64_t> level(seen.begin(), seen.end());
  while (!level.empty()) {
    std::vector<std::int64_t> next;
    RETURN_IF_ERROR(step.query(tx, {}, level, [&seen, &next](const Row& row) -> Result<void> {
      if (seen.insert(row.integer(0)).second) next.push_back(row.integer(0));
      return {};
    }));
    level = std::move(next);
  }
  return seen;
}

/// The groups that views name and that `group` lies below or is.
Result<std::vector<std::int64_t>> named_above(Tx& tx, OrgN org, GroupN group) {
  Numbers named;
  RETURN_IF_ERROR(tx.query(
      kNamedGroups,
      [&named](const Row& row) -> Result<void> {
        named.insert(row.integer(0));
        return {};
      },
      org));
  std::vector<std::int64_t> above;
  if (named.empty()) return above;
  ASSIGN_OR_RETURN(const Numbers reached, reachable(tx, {&group, 1}, parents()));
  std::ranges::set_intersection(named, reached, std::back_inserter(above));
  return above;
}

}  // namespace

Result<std::vector<std::int64_t>> with_nested_groups(Tx& tx, std::span<const std::int64_t> groups) {
  ASSIGN_OR_RETURN(const Numbers found, reachable(tx, groups, children()));
  return std::vector(found.begin(), found.end());
}

Result<std::vector<std::int64_t>> with_parent_groups(Tx& tx, std::span<const std::int64_t> groups) {
  ASSIGN_OR_RETURN(const Numbers found, reachable(tx, groups, parents()));
  return std::vector(found.begin(), found.end());
}

void ScopeChanges::add_to(JournalEntry& entry) const {
  entry.changes.insert(entry.changes.end(), rows.begin(), rows.end());
  if (renewed) entry.wakes = true;
}

Result<ScopeChanges> scope_changes(Tx& tx, OrgN org, GroupN group,
                                   std::span<const std::int64_t> users,
                                   std::span<const std::int64_t> groups,
                                   const RandomBytes& random) {
  ScopeChanges changes;
  if (users.empty() && groups.empty()) return changes;
  ASSIGN_OR_RETURN(const std::vector<std::int64_t> named, named_above(tx, org, group));
  if (named.empty()) return changes;
  ASSIGN_OR_RETURN(const std::vector<std::int64_t> nested, with_nested_groups(tx, groups));
  Numbers moved(users.begin(), users.end());
  RETURN_IF_ERROR(people().query(tx, {}, nested, [&moved](const Row& row) -> Result<void> {
    moved.insert(row.integer(0));
    return {};
  }));
  if (named.size() * (nested.size() + moved.size()) > kRowsMax) {
    changes.renewed = true;
    for (const std::int64_t root : named) {
      RETURN_IF_ERROR(tx.execute(kRenew, org, root, new_view_tag(random)));
    }
    return changes;
  }
  for (const std::int64_t root : named) {
    for (const std::int64_t n : nested) changes.rows.push_back({row::kScopeGroup, n, root});
    for (const std::int64_t n : moved) changes.rows.push_back({row::kScopeUser, n, root});
  }
  return changes;
}

Result<ScopeChanges> scope_changes(Tx& tx, OrgN org, GroupN group,
                                   std::span<const ChangeRow> members, const RandomBytes& random) {
  std::vector<std::int64_t> users;
  std::vector<std::int64_t> groups;
  for (const ChangeRow& row : members) {
    const bool is_user = row.kind == row::kUserJoined || row.kind == row::kUserLeft;
    (is_user ? users : groups).push_back(row.a);
  }
  return scope_changes(tx, org, group, users, groups, random);
}

}  // namespace roster::directory
