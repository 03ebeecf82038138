#include <algorithm>
#include <functional>
#include <utility>

#include "directory/candidates.h"
#include "directory/group_rows.h"
#include "directory/impl.h"
#include "directory/nesting.h"
#include "directory/query.h"
#include "directory/schema.h"
#include "directory/user_rows.h"

// Lists of people and of groups. No read lasts longer than one page.
namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kPageMax = 1000;

const SetStatement& ids_of_people() {
  static const SetStatement statement("list.ids_of_people", "SELECT id, n FROM usr WHERE n IN ", 0,
                                      "");
  return statement;
}

constexpr Statement kOutlines{"list.user_outlines",
                              "SELECT n, id, active, valid_until FROM usr "
                              "WHERE org = $1 AND id > $2 ORDER BY id LIMIT $3"};
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

/// `find`: one page of groups without their parts.
Result<Page<Group>> group_page(store::Database& db, const Actor& actor, Load load,
                               const std::function<Result<GroupRows>(Tx&)>& find) {
  const auto read = [&actor, load, &find](Tx& tx) -> Result<GroupRows> {
    ASSIGN_OR_RETURN(GroupRows found, find(tx));
    ASSIGN_OR_RETURN(const std::size_t filled, load_group_parts(tx, actor, found.records, load));
    found.more = found.more || filled < found.records.size();
    found.records.resize(filled);
    return found;
  };
  ASSIGN_OR_RETURN(GroupRows rows, read_groups(db, load.flattened, read));
  Page<Group> page{.items = {}, .more = rows.more};
  page.items.reserve(rows.records.size());
  for (GroupRecord& record : rows.records) page.items.push_back(std::move(record.group));
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

Result<Page<UserOutline>> Directory::outline_users(const Actor& actor, OrgN org,
                                                   std::string_view after_id, std::size_t limit) {
  RETURN_IF_ERROR(authorize(actor, org));
  limit = std::clamp<std::size_t>(limit, 1, kOutlinesMax);
  return impl_->db.read([org, after_id, limit](Tx& tx) -> Result<Page<UserOutline>> {
    Page<UserOutline> page;
    RETURN_IF_ERROR(tx.query(
        kOutlines,
        [&page](const Row& row) -> Result<void> {
          page.items.push_back({.n = row.integer(0),
                                .id = std::string(row.text(1)),
                                .active = row.integer(2) != 0,
                                .valid_until = time_or_null(row, 3)});
          return {};
        },
        org, after_id, limit + 1));
    page.more = cut(page.items, limit);
    return page;
  });
}

Result<Page<Group>> Directory::list_groups(const Actor& actor, OrgN org, std::string_view after_id,
                                           std::size_t limit, Load load) {
  RETURN_IF_ERROR(authorize(actor, org));
  limit = std::clamp<std::size_t>(limit, 1, kPageMax);
  return group_page(impl_->db, actor, load, [org, after_id, limit](Tx& tx) -> Result<GroupRows> {
    GroupRows rows;
    ASSIGN_OR_RETURN(rows.records, groups_after(tx, org, after_id, limit + 1));
    rows.more = cut(rows.records, limit);
    return rows;
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
  std::vector<Candidate> found;
  const auto add = [&found](const Row& row) -> Result<void> {
    found.push_back({std::string(row.text(0)), row.integer(1)});
    return {};
  };
  for (const std::string& name : groups) {
    ASSIGN_OR_RETURN(const DirectMembers members,
                     impl_->db.read([org, &name](Tx& tx) -> Result<DirectMembers> {
                       ASSIGN_OR_RETURN(const auto group, group_or_nothing(tx, org, name));
                       if (!group) return DirectMembers{};
                       return direct_members(tx, group->group.n);
                     }));
    std::span<const UserN> left(members.people);
    while (!left.empty()) {
      const auto part = left.first(std::min(left.size(), kOutlinesMax));
      RETURN_IF_ERROR(impl_->db.read([part, &add](Tx& tx) -> Result<bool> {
        RETURN_IF_ERROR(ids_of_people().query(tx, {}, part, add));
        return true;
      }));
      left = left.subspan(part.size());
    }
  }
  return numbers_behind(std::move(found), after_id);
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
  return group_page(impl_->db, actor, load, [org, numbers](Tx& tx) -> Result<GroupRows> {
    ASSIGN_OR_RETURN(std::vector<GroupRecord> records, groups_by_number(tx, org, numbers));
    return GroupRows{.records = std::move(records), .more = false};
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
