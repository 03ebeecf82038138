#include <algorithm>
#include <map>
#include <utility>

#include "directory/candidates.h"
#include "directory/group_rows.h"
#include "directory/impl.h"
#include "directory/schema.h"
#include "directory/user_rows.h"

// Lists of people and of groups. No read lasts longer than one page.
namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kPageMax = 1000;

constexpr Statement kPeopleOfGroup{"list.people_of_group",
                                   "SELECT u.id, u.n FROM member m JOIN usr u ON u.n = m.member_n "
                                   "WHERE m.kind = 1 AND m.group_n = $1"};
constexpr Statement kMayLogIn{
    "list.may_log_in",
    "SELECT active_count - (SELECT COUNT(*) FROM usr WHERE org = $1 AND valid_until IS NOT NULL "
    "AND valid_until <= $2 AND active = 1) FROM org WHERE n = $1"};

Result<Page<User>> user_page(Tx& tx, const Actor& actor, std::vector<UserRecord> records, bool more,
                             Load load) {
  RETURN_IF_ERROR(load_user_parts(tx, actor, records, load));
  Page<User> page{.items = {}, .more = more};
  page.items.reserve(records.size());
  for (UserRecord& record : records) page.items.push_back(std::move(record.user));
  return page;
}

Result<Page<Group>> group_page(Tx& tx, const Actor& actor, std::vector<GroupRecord> records,
                               bool more, Load load) {
  ASSIGN_OR_RETURN(const std::size_t filled, load_group_parts(tx, actor, records, load));
  Page<Group> page{.items = {}, .more = more || filled < records.size()};
  records.resize(filled);
  page.items.reserve(filled);
  for (GroupRecord& record : records) page.items.push_back(std::move(record.group));
  return page;
}

/// Whether there was one too many, which is taken away.
template <typename Record>
bool cut(std::vector<Record>& records, std::size_t limit) {
  if (records.size() <= limit) return false;
  records.pop_back();
  return true;
}

/// Nothing when there is no such group.
Result<std::optional<GroupRecord>> group_or_nothing(Tx& tx, OrgN org, std::string_view name) {
  auto group = group_by_any_name(tx, org, name);
  if (group) return std::optional(std::move(*group));
  if (group.error().code == Code::kNotFound) return std::nullopt;
  return std::unexpected(std::move(group).error());
}

}  // namespace

Result<Page<User>> Directory::list_users(const Actor& actor, OrgN org, std::string_view after_id,
                                         std::size_t limit, Load load) {
  RETURN_IF_ERROR(authorize(actor, org));
  limit = std::clamp<std::size_t>(limit, 1, kPageMax);
  return impl_->db.read([&actor, org, after_id, limit, load](Tx& tx) -> Result<Page<User>> {
    ASSIGN_OR_RETURN(std::vector<UserRecord> records, users_after(tx, org, after_id, limit + 1));
    const bool more = cut(records, limit);
    return user_page(tx, actor, std::move(records), more, load);
  });
}

Result<Page<Group>> Directory::list_groups(const Actor& actor, OrgN org, std::string_view after_id,
                                           std::size_t limit, Load load) {
  RETURN_IF_ERROR(authorize(actor, org));
  limit = std::clamp<std::size_t>(limit, 1, kPageMax);
  return impl_->db.read([&actor, org, after_id, limit, load](Tx& tx) -> Result<Page<Group>> {
    ASSIGN_OR_RETURN(std::vector<GroupRecord> records, groups_after(tx, org, after_id, limit + 1));
    const bool more = cut(records, limit);
    return group_page(tx, actor, std::move(records), more, load);
  });
}

Result<std::optional<std::vector<UserN>>> Directory::select_users(
    const Actor& actor, OrgN org, std::span<const Condition> conditions, std::string_view after_id,
    std::size_t range_max) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.read([&actor, org, conditions, after_id, range_max](Tx& tx) {
    return find_candidates(tx, row::kUser, actor, org, conditions, after_id, range_max);
  });
}

Result<std::optional<std::vector<GroupN>>> Directory::select_groups(
    const Actor& actor, OrgN org, std::span<const Condition> conditions, std::string_view after_id,
    std::size_t range_max) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.read([&actor, org, conditions, after_id, range_max](Tx& tx) {
    return find_candidates(tx, row::kGroup, actor, org, conditions, after_id, range_max);
  });
}

Result<std::vector<UserN>> Directory::select_members(OrgN org, std::span<const std::string> groups,
                                                     std::string_view after_id) {
  std::map<std::string, UserN> found;
  for (const std::string& name : groups) {
    RETURN_IF_ERROR(impl_->db.read([org, &name, &found](Tx& tx) -> Result<bool> {
      ASSIGN_OR_RETURN(const auto group, group_or_nothing(tx, org, name));
      if (!group) return false;
      RETURN_IF_ERROR(tx.query(
          kPeopleOfGroup,
          [&found](const Row& row) -> Result<void> {
            found.emplace(row.text(0), row.integer(1));
            return {};
          },
          group->group.n));
      return true;
    }));
  }
  std::vector<UserN> numbers;
  for (auto it = found.upper_bound(std::string(after_id)); it != found.end(); ++it) {
    numbers.push_back(it->second);
  }
  return numbers;
}

Result<std::vector<GroupN>> Directory::select_named(OrgN org, std::span<const std::string> names,
                                                    std::string_view after_id) {
  return impl_->db.read([org, names, after_id](Tx& tx) -> Result<std::vector<GroupN>> {
    std::vector<Candidate> found;
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(const auto group, group_or_nothing(tx, org, name));
      if (group) found.push_back({group->group.id, group->group.n});
    }
    return numbers_behind(std::move(found), after_id);
  });
}

Result<Page<User>> Directory::get_users(const Actor& actor, OrgN org,
                                        std::span<const UserN> numbers, Load load) {
  RETURN_IF_ERROR(authorize(actor, org));
  CHECK(numbers.size() <= kPageMax);
  return impl_->db.read([&actor, org, numbers, load](Tx& tx) -> Result<Page<User>> {
    ASSIGN_OR_RETURN(std::vector<UserRecord> records, users_by_number(tx, org, numbers));
    return user_page(tx, actor, std::move(records), false, load);
  });
}

Result<Page<Group>> Directory::get_groups(const Actor& actor, OrgN org,
                                          std::span<const GroupN> numbers, Load load) {
  RETURN_IF_ERROR(authorize(actor, org));
  CHECK(numbers.size() <= kPageMax);
  return impl_->db.read([&actor, org, numbers, load](Tx& tx) -> Result<Page<Group>> {
    ASSIGN_OR_RETURN(std::vector<GroupRecord> records, groups_by_number(tx, org, numbers));
    return group_page(tx, actor, std::move(records), false, load);
  });
}

Result<std::int64_t> Directory::count_who_may_log_in(OrgN org, Timestamp now) {
  return impl_->db.read([org, now](Tx& tx) -> Result<std::int64_t> {
    ASSIGN_OR_RETURN(const auto count,
                     tx.query_one(kMayLogIn, integer_column, org, to_millis(now)));
    return count.value_or(0);
  });
}

}  // namespace roster::directory
