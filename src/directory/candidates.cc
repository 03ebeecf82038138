#include "directory/candidates.h"

#include <algorithm>
#include <limits>

#include "base/unicode.h"
#include "directory/impl.h"
#include "directory/query.h"
#include "directory/schema.h"
#include "directory/scope.h"

namespace roster::directory {
namespace {

using store::Param;
using store::Row;
using store::Statement;
using store::Tx;
using Field = Condition::Field;
using Op = Condition::Op;

/// One per index. All give (id, n) and take the organization first, then the value or the bounds
/// [from, to), then the number of rows wanted.
struct Indexes {
  Statement id;
  Statement key;
  Statement key_prefix;
  Statement number;
  Statement created;
  Statement modified;
  Statement external;
  Statement external_prefix;
};

constexpr Indexes kUserIndexes{
    {"user.find_id", "SELECT id, n FROM usr WHERE org = $1 AND id = $2 LIMIT $3"},
    {"user.find_key", "SELECT id, n FROM usr WHERE org = $1 AND user_name_key = $2 LIMIT $3"},
    {"user.find_key_prefix",
     "SELECT id, n FROM usr WHERE org = $1 AND user_name_key >= $2 AND user_name_key < $3 "
     "LIMIT $4"},
    {"user.find_number",
     "SELECT u.id, u.n FROM posix_id p JOIN usr u ON u.n = p.n "
     "WHERE p.org = $1 AND p.number = $2 LIMIT $3"},
    {"user.find_created",
     "SELECT id, n FROM usr WHERE org = $1 AND created >= $2 AND created < $3 LIMIT $4"},
    {"user.find_modified",
     "SELECT id, n FROM usr WHERE org = $1 AND modified >= $2 AND modified < $3 LIMIT $4"},
    {"user.find_external",
     "SELECT u.id, u.n FROM external_id e JOIN usr u ON u.n = e.owner_n "
     "WHERE u.org = $1 AND e.client = $2 AND e.kind = 1 AND e.value = $3 LIMIT $4"},
    {"user.find_external_prefix",
     "SELECT u.id, u.n FROM external_id e JOIN usr u ON u.n = e.owner_n "
     "WHERE u.org = $1 AND e.client = $2 AND e.kind = 1 AND e.value >= $3 AND e.value < $4 "
     "LIMIT $5"},
};

constexpr Indexes kGroupIndexes{
    {"group.find_id", "SELECT id, n FROM grp WHERE org = $1 AND id = $2 LIMIT $3"},
    {"group.find_key", "SELECT id, n FROM grp WHERE org = $1 AND name_key = $2 LIMIT $3"},
    {"group.find_key_prefix",
     "SELECT id, n FROM grp WHERE org = $1 AND name_key >= $2 AND name_key < $3 LIMIT $4"},
    {"group.find_number",
     "SELECT g.id, g.n FROM posix_id p JOIN grp g ON g.n = p.n "
     "WHERE p.org = $1 AND p.number = $2 LIMIT $3"},
    {"group.find_created",
     "SELECT id, n FROM grp WHERE org = $1 AND created >= $2 AND created < $3 LIMIT $4"},
    {"group.find_modified",
     "SELECT id, n FROM grp WHERE org = $1 AND modified >= $2 AND modified < $3 LIMIT $4"},
    {"group.find_external",
     "SELECT g.id, g.n FROM external_id e JOIN grp g ON g.n = e.owner_n "
     "WHERE g.org = $1 AND e.client = $2 AND e.kind = 2 AND e.value = $3 LIMIT $4"},
    {"group.find_external_prefix",
     "SELECT g.id, g.n FROM external_id e JOIN grp g ON g.n = e.owner_n "
     "WHERE g.org = $1 AND e.client = $2 AND e.kind = 2 AND e.value >= $3 AND e.value < $4 "
     "LIMIT $5"},
};

constexpr Statement kInactiveUsers{"user.find_inactive",
                                   "SELECT id, n FROM usr WHERE org = $1 AND active = 0 LIMIT $2"};
constexpr Statement kGroupsOfMember{"member.groups",
                                    "SELECT group_n FROM member WHERE member_n = $1 AND kind = $2"};
constexpr Statement kClientNumbers{"client.numbers",
                                   "SELECT n FROM client WHERE org = $1 ORDER BY name"};

const SetStatement& groups_by_number() {
  static const SetStatement statement("group.ids", "SELECT id, n FROM grp WHERE n IN ", 0, "");
  return statement;
}

/// The groups that have the member of a condition, rising.
Result<std::vector<std::int64_t>> groups_with(Tx& tx, OrgN org, const Condition& condition) {
  std::vector<std::int64_t> groups;
  ASSIGN_OR_RETURN(const std::optional<MemberRef> member, resolve_member(tx, org, condition.text));
  if (!member || (condition.nested && member->kind != row::kUser)) return groups;
  RETURN_IF_ERROR(tx.query(
      kGroupsOfMember,
      [&groups](const Row& row) -> Result<void> {
        groups.push_back(row.integer(0));
        return {};
      },
      member->n, member->kind));
  if (condition.nested) return with_parent_groups(tx, groups);
  std::ranges::sort(groups);
  return groups;
}

/// Conditions of this rank and below may leave any number.
constexpr int kRangeRankMax = 4;

/// How well a condition narrows; 0: not at all.
int rank(int kind, const Condition& condition) {
  const bool equal = condition.op == Op::kEqual;
  const bool prefix = condition.op == Op::kStartsWith && !condition.text.empty();
  switch (condition.field) {
    case Field::kId:
      return equal ? 9 : 0;
    case Field::kUserName:
      return kind != row::kUser ? 0 : equal ? 8 : prefix ? 3 : 0;
    case Field::kDisplayName:
      return kind != row::kGroup ? 0 : equal ? 8 : prefix ? 3 : 0;
    case Field::kPosixNumber:
      return equal ? 7 : 0;
    case Field::kExternalId:
      return equal ? 6 : prefix ? 4 : 0;
    case Field::kMember:
      return kind == row::kGroup && equal ? 5 : 0;
    case Field::kModified:
    case Field::kCreated:
      return condition.op == Op::kStartsWith ? 0 : 2;
    case Field::kActive:
      return kind == row::kUser && equal && condition.number == 0 ? 1 : 0;
  }
  check_failed("a field without a rank", std::source_location::current());
}

struct Bounds {
  std::int64_t from = 0;
  std::int64_t to = std::numeric_limits<std::int64_t>::max();
};

/// All conditions on one time together.
Bounds bounds_of(std::span<const Condition> conditions, Field field) {
  Bounds bounds;
  for (const Condition& condition : conditions) {
    if (condition.field != field) continue;
    const std::int64_t at = condition.number;
    if (at == std::numeric_limits<std::int64_t>::max()) continue;
    switch (condition.op) {
      case Op::kEqual:
        bounds.from = std::max(bounds.from, at);
        bounds.to = std::min(bounds.to, at + 1);
        break;
      case Op::kGreater:
        bounds.from = std::max(bounds.from, at + 1);
        break;
      case Op::kGreaterOrEqual:
        bounds.from = std::max(bounds.from, at);
        break;
      case Op::kLess:
        bounds.to = std::min(bounds.to, at);
        break;
      case Op::kLessOrEqual:
        bounds.to = std::min(bounds.to, at + 1);
        break;
      case Op::kStartsWith:
        break;
    }
  }
  return bounds;
}

class Finder {
 public:
  /// Gives up beyond `found_max`.
  Finder(Tx& tx, int kind, const Actor& actor, OrgN org, std::size_t found_max)
      : tx_(tx),
        actor_(actor),
        org_(org),
        found_max_(found_max),
        indexes_(kind == row::kUser ? kUserIndexes : kGroupIndexes) {}

  /// Nothing when there are too many, or the text bounds nothing.
  Result<std::optional<std::vector<Candidate>>> find(const Condition& condition,
                                                     std::span<const Condition> all) {
    ASSIGN_OR_RETURN(const bool narrowed, drive(condition, all));
    if (!narrowed || found_.size() > found_max_) {
      return std::optional<std::vector<Candidate>>();
    }
    return std::optional(std::move(found_));
  }

 private:
  template <typename... P>
  Result<bool> collect(const Statement& statement, const P&... params) {
    RETURN_IF_ERROR(tx_.query(statement, append(), params..., found_max_ + 1));
    return true;
  }

  Result<bool> drive(const Condition& condition, std::span<const Condition> all) {
    switch (condition.field) {
      case Field::kId:
        return collect(indexes_.id, org_, condition.text);
      case Field::kUserName:
      case Field::kDisplayName:
        return by_key(condition);
      case Field::kPosixNumber:
        return collect(indexes_.number, org_, condition.number);
      case Field::kExternalId:
        return by_external(condition);
      case Field::kMember:
        return by_member(condition);
      case Field::kCreated: {
        const Bounds bounds = bounds_of(all, Field::kCreated);
        return collect(indexes_.created, org_, bounds.from, bounds.to);
      }
      case Field::kModified: {
        const Bounds bounds = bounds_of(all, Field::kModified);
        return collect(indexes_.modified, org_, bounds.from, bounds.to);
      }
      case Field::kActive:
        return collect(kInactiveUsers, org_);
    }
    check_failed("a field without an index", std::source_location::current());
  }

  Result<bool> by_key(const Condition& condition) {
    const auto key = case_key(condition.text);
    if (!key) return true;  // not UTF-8: nobody is called that
    if (condition.op == Op::kEqual) return collect(indexes_.key, org_, *key);
    const std::optional<std::string> end = prefix_end(*key);
    if (!end) return false;
    return collect(indexes_.key_prefix, org_, *key, *end);
  }

  Result<bool> by_external(const Condition& condition) {
    std::vector<ClientN> clients;
    if (actor_.client) {
      clients = {*actor_.client};
    } else {
      clients = {row::kNoClient};
      RETURN_IF_ERROR(tx_.query(
          kClientNumbers,
          [&clients](const Row& row) -> Result<void> {
            clients.push_back(row.integer(0));
            return {};
          },
          org_));
    }
    const std::optional<std::string> end =
        condition.op == Op::kEqual ? std::optional(std::string()) : prefix_end(condition.text);
    if (!end) return false;
    for (const ClientN client : clients) {
      if (found_.size() > found_max_) break;
      if (condition.op == Op::kEqual) {
        RETURN_IF_ERROR(collect(indexes_.external, org_, client, condition.text));
      } else {
        RETURN_IF_ERROR(collect(indexes_.external_prefix, org_, client, condition.text, *end));
      }
    }
    return true;
  }

  Result<bool> by_member(const Condition& condition) {
    ASSIGN_OR_RETURN(const std::vector<std::int64_t> groups, groups_with(tx_, org_, condition));
    if (groups.size() > found_max_) return false;
    RETURN_IF_ERROR(groups_by_number().query(tx_, {}, groups, append()));
    return true;
  }

  store::RowFn append() {
    return [this](const Row& row) -> Result<void> {
      found_.push_back({std::string(row.text(0)), row.integer(1)});
      return {};
    };
  }

  Tx& tx_;
  const Actor& actor_;
  const OrgN org_;
  const std::size_t found_max_;
  const Indexes& indexes_;
  std::vector<Candidate> found_;
};

constexpr Statement kUserNumber{"member.user_number",
                                "SELECT n FROM usr WHERE org = $1 AND id = $2"};
constexpr Statement kGroupNumber{"member.group_number",
                                 "SELECT n FROM grp WHERE org = $1 AND id = $2"};

}  // namespace

Result<std::optional<MemberRef>> resolve_member(Tx& tx, OrgN org, std::string_view id) {
  ASSIGN_OR_RETURN(const auto user, tx.query_one(kUserNumber, integer_column, org, id));
  if (user) return std::optional(MemberRef{row::kUser, *user});
  ASSIGN_OR_RETURN(const auto group, tx.query_one(kGroupNumber, integer_column, org, id));
  if (group) return std::optional(MemberRef{row::kGroup, *group});
  return std::optional<MemberRef>();
}

std::vector<std::int64_t> numbers_behind(std::vector<Candidate> candidates,
                                         std::string_view after_id) {
  std::erase_if(candidates, [after_id](const Candidate& each) { return each.id <= after_id; });
  std::ranges::sort(candidates, {}, &Candidate::id);
  const auto repeated = std::ranges::unique(candidates, {}, &Candidate::id);
  candidates.erase(repeated.begin(), repeated.end());
  std::vector<std::int64_t> numbers(candidates.size());
  std::ranges::transform(candidates, numbers.begin(), &Candidate::n);
  return numbers;
}

Result<std::optional<std::vector<std::int64_t>>> find_candidates(
    Tx& tx, int kind, const Actor& actor, OrgN org, std::span<const Condition> conditions,
    std::string_view after_id, std::size_t range_max) {
  const Condition* best = nullptr;
  for (const Condition& condition : conditions) {
    if (rank(kind, condition) == 0) continue;
    if (best == nullptr || rank(kind, condition) > rank(kind, *best)) best = &condition;
  }
  if (best == nullptr) return std::nullopt;
  const bool is_range = rank(kind, *best) <= kRangeRankMax;
  if (is_range && range_max == 0) return std::nullopt;
  const std::size_t found_max = is_range ? std::min(range_max, kCandidatesMax) : kCandidatesMax;
  ASSIGN_OR_RETURN(std::optional<std::vector<Candidate>> found,
                   Finder(tx, kind, actor, org, found_max).find(*best, conditions));
  const auto asks_for_member = [kind](const Condition& condition) {
    return kind == row::kGroup && condition.field == Field::kMember && condition.op == Op::kEqual;
  };
  if (!found) {
    if (!std::ranges::any_of(conditions, asks_for_member)) return std::nullopt;
    return fail(Code::kTooLarge, "more than 100,000 groups may match", "tooMany");
  }
  for (const Condition& condition : conditions) {
    if (!asks_for_member(condition) || &condition == best) continue;
    ASSIGN_OR_RETURN(const std::vector<std::int64_t> groups, groups_with(tx, org, condition));
    std::erase_if(*found, [&groups](const Candidate& each) {
      return !std::ranges::binary_search(groups, each.n);
    });
  }
  return numbers_behind(std::move(*found), after_id);
}

}  // namespace roster::directory
