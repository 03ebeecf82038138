#include "directory/group_rows.h"

#include <algorithm>
#include <unordered_map>

#include "base/unicode.h"
#include "directory/external_ids.h"
#include "directory/impl.h"
#include "directory/nesting.h"
#include "directory/query.h"
#include "directory/schema.h"
#include "directory/stored_doc.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

/// Members who are read by number, one by one.
constexpr std::size_t kLeftPerRead = kMembersPerRead / 2;
constexpr std::size_t kDisplayNameBytesMax = 1024;
constexpr std::size_t kKeyBytesMax = 2048;

#define ROSTER_GROUP_COLUMNS                                                             \
  "SELECT g.n, g.id, g.owner_client, g.member_count, g.version, g.created, g.modified, " \
  "g.name_key, g.doc, p.number, p.name, p.state, c.name "
#define ROSTER_GROUP_TABLES \
  "FROM grp g JOIN posix_id p ON p.n = g.n LEFT JOIN client c ON c.n = g.owner_client "

constexpr Statement kById{
    "group.by_id", ROSTER_GROUP_COLUMNS ROSTER_GROUP_TABLES "WHERE g.org = $1 AND g.id = $2"};
constexpr Statement kByKey{"group.by_key", ROSTER_GROUP_COLUMNS ROSTER_GROUP_TABLES
                           "WHERE g.org = $1 AND g.name_key = $2"};
constexpr Statement kByPosixName{
    "group.by_posix_name", ROSTER_GROUP_COLUMNS
    "FROM posix_id p JOIN grp g ON g.n = p.n LEFT JOIN client c ON c.n = g.owner_client "
    "WHERE p.org = $1 AND p.name = $2"};
constexpr Statement kAfter{"group.after", ROSTER_GROUP_COLUMNS ROSTER_GROUP_TABLES
                           "WHERE g.org = $1 AND g.id > $2 ORDER BY g.id LIMIT $3"};

constexpr Statement kVersion{"group.version", "SELECT version FROM grp WHERE n = $1"};
constexpr Statement kBump{"group.bump",
                          "UPDATE grp SET version = version + 1, modified = $2 WHERE n = $1"};

const SetStatement& by_number() {
  static const SetStatement statement(
      "group.by_number", ROSTER_GROUP_COLUMNS ROSTER_GROUP_TABLES "WHERE g.org = $1 AND g.n IN ", 1,
      "");
  return statement;
}

#undef ROSTER_GROUP_COLUMNS
#undef ROSTER_GROUP_TABLES

const SetStatement& user_members() {
  static const SetStatement statement("group.user_members",
                                      "SELECT m.group_n, m.member_n, u.id, u.user_name, p.name, "
                                      "u.active, u.valid_until FROM member m "
                                      "JOIN usr u ON u.n = m.member_n JOIN posix_id p ON p.n = u.n "
                                      "WHERE m.kind = 1 AND m.group_n IN ",
                                      0, "");
  return statement;
}

const SetStatement& group_members() {
  static const SetStatement statement(
      "group.group_members",
      "SELECT m.group_n, m.member_n, g.id, g.display_name, p.name FROM member m "
      "JOIN grp g ON g.n = m.member_n JOIN posix_id p ON p.n = g.n "
      "WHERE m.kind = 2 AND m.group_n IN ",
      0, "");
  return statement;
}

/// Rows as those of group_members().
const SetStatement& groups_by_member_number() {
  static const SetStatement statement("group.groups",
                                      "SELECT 0, g.n, g.id, g.display_name, p.name FROM grp g "
                                      "JOIN posix_id p ON p.n = g.n WHERE g.n IN ",
                                      0, "");
  return statement;
}

/// Rows as those of user_members().
const SetStatement& people_by_number() {
  static const SetStatement statement("group.people",
                                      "SELECT 0, u.n, u.id, u.user_name, p.name, u.active, "
                                      "u.valid_until FROM usr u JOIN posix_id p ON p.n = u.n "
                                      "WHERE u.n IN ",
                                      0, "");
  return statement;
}

std::unexpected<Error> invalid(std::string_view reason) {
  return fail(Code::kInvalidArgument, "displayName: " + std::string(reason), "invalidValue");
}

GroupRecord read_group(const Row& row) {
  GroupRecord record;
  Group& group = record.group;
  group.n = row.integer(0);
  group.id = row.text(1);
  record.owner = row.integer(2);
  group.member_count = row.integer(3);
  group.version = row.integer(4);
  group.created = from_millis(row.integer(5));
  group.modified = from_millis(row.integer(6));
  record.name_key = row.text(7);
  record.doc_text = row.text(8);
  if (!row.is_null(9)) {
    const auto gid = static_cast<std::uint32_t>(row.integer(9));
    group.posix = PosixIdentity{static_cast<std::uint64_t>(group.n), gid, std::string(row.text(10)),
                                static_cast<IdentityState>(row.integer(11)), gid};
  }
  group.owner = row.text_or_null(12).value_or("");
  return record;
}

Result<GroupRecord> finish_record(GroupRecord record) {
  auto doc = parse_stored_doc(record.doc_text);
  if (!doc || !doc->is_object()) {
    return fail(Code::kDataLoss, "the stored document of group " + record.group.id + " is damaged");
  }
  record.group.doc = std::move(doc->get_object());
  return record;
}

template <typename... P>
Result<std::optional<GroupRecord>> load_one(Tx& tx, const Statement& statement,
                                            const P&... params) {
  ASSIGN_OR_RETURN(std::optional<GroupRecord> found,
                   tx.query_one(statement, read_group, params...));
  if (!found) return found;
  ASSIGN_OR_RETURN(GroupRecord record, finish_record(std::move(*found)));
  return std::optional(std::move(record));
}

store::RowFn append_to(std::vector<GroupRecord>& groups) {
  return [&groups](const Row& row) -> Result<void> {
    ASSIGN_OR_RETURN(GroupRecord record, finish_record(read_group(row)));
    groups.push_back(std::move(record));
    return {};
  };
}

}  // namespace

Result<GroupColumns> group_columns(json::object doc, std::size_t bytes_before) {
  GroupColumns columns;
  const std::optional<std::string_view> name = json::find_string(doc, "displayName");
  if (!name || name->empty()) return invalid("it is required");
  if (name->size() > kDisplayNameBytesMax) {
    return invalid("longer than " + std::to_string(kDisplayNameBytesMax) + " bytes");
  }
  if (has_control_characters(*name)) return invalid("it has control characters");
  columns.display_name = *name;
  auto key = case_key(columns.display_name);
  if (!key) return invalid(key.error().message);
  if (key->empty() || key->size() > kKeyBytesMax) {
    return invalid("it cannot be compared with others");
  }
  columns.name_key = std::move(*key);
  columns.doc_text = json::canonical(doc);
  RETURN_IF_ERROR(check_doc_size(columns.doc_text.size(), bytes_before));
  columns.doc = std::move(doc);
  return columns;
}

Result<void> bump_group(Tx& tx, GroupN n, Timestamp now) {
  RETURN_IF_ERROR(tx.execute(kBump, n, to_millis(now)));
  return {};
}

Result<GroupRecord> group_by_id(Tx& tx, OrgN org, std::string_view id) {
  ASSIGN_OR_RETURN(std::optional<GroupRecord> found, load_one(tx, kById, org, id));
  if (!found) return fail(Code::kNotFound, "there is no group with this id");
  return std::move(*found);
}

Result<std::optional<GroupRecord>> group_by_key(Tx& tx, OrgN org, std::string_view key) {
  return load_one(tx, kByKey, org, key);
}

Result<std::optional<GroupRecord>> group_by_posix_name(Tx& tx, OrgN org, std::string_view name) {
  return load_one(tx, kByPosixName, org, name);
}

Result<GroupRecord> group_by_any_name(Tx& tx, OrgN org, std::string_view name_or_id) {
  // The id first, so that no group can be called by another's.
  if (is_uuid(name_or_id)) {
    auto by_id = group_by_id(tx, org, name_or_id);
    if (by_id || by_id.error().code != Code::kNotFound) return by_id;
  }
  ASSIGN_OR_RETURN(std::optional<GroupRecord> found, group_by_posix_name(tx, org, name_or_id));
  if (found) return std::move(*found);
  if (const auto key = case_key(name_or_id)) {
    ASSIGN_OR_RETURN(found, group_by_key(tx, org, *key));
    if (found) return std::move(*found);
  }
  return fail(Code::kNotFound, "there is no group with this POSIX name, displayName or id");
}

Result<std::vector<GroupRecord>> groups_by_number(Tx& tx, OrgN org,
                                                  std::span<const std::int64_t> numbers) {
  std::vector<GroupRecord> groups;
  RETURN_IF_ERROR(by_number().query(tx, {org}, numbers, append_to(groups)));
  std::ranges::sort(groups, {},
                    [](const GroupRecord& r) -> const std::string& { return r.group.id; });
  return groups;
}

Result<std::vector<GroupRecord>> groups_after(Tx& tx, OrgN org, std::string_view after_id,
                                              std::size_t limit) {
  std::vector<GroupRecord> groups;
  RETURN_IF_ERROR(tx.query(kAfter, append_to(groups), org, after_id, limit));
  return groups;
}

namespace {

Reference user_member(const Row& row) {
  return {.id = std::string(row.text(2)),
          .display = std::string(row.text(3)),
          .posix_name = std::string(row::name_or_empty(row.text(4))),
          .is_group = false,
          .active = row.integer(5) != 0,
          .valid_until = time_or_null(row, 6)};
}

Reference group_member(const Row& row) {
  return {.id = std::string(row.text(2)),
          .display = std::string(row.text(3)),
          .posix_name = std::string(row::name_or_empty(row.text(4))),
          .is_group = true};
}

/// The members that are left, as many as fit into one read.
Result<void> load_left(Tx& tx, GroupRecord& record) {
  MembersLeft& left = record.left;
  const bool people = left.read < left.people.size();
  const std::span<const std::int64_t> rest =
      people ? std::span(left.people).subspan(left.read)
             : std::span(left.groups).subspan(left.read - left.people.size());
  const auto part = rest.first(std::min(rest.size(), kLeftPerRead));
  std::vector<Reference>& members = record.group.members;
  RETURN_IF_ERROR((people ? people_by_number() : groups_by_member_number())
                      .query(tx, {}, part, [&members, people](const Row& row) -> Result<void> {
                        members.push_back(people ? user_member(row) : group_member(row));
                        return {};
                      }));
  left.read += part.size();
  if (left.empty() && left.by_id) std::ranges::sort(members, {}, &Reference::id);
  return {};
}

bool is_big(const GroupRecord& record) {
  return record.group.member_count > static_cast<std::int64_t>(kMembersPerRead);
}

/// The people of nested groups in the place of these.
Result<void> flatten(Tx& tx, Nesting& nesting, GroupRecord& record) {
  Group& group = record.group;
  if (record.left.groups.empty() && std::ranges::none_of(group.members, &Reference::is_group)) {
    return {};
  }
  group.members.clear();
  record.left = {.people = {}, .groups = {}, .read = 0, .by_id = true};
  ASSIGN_OR_RETURN(record.left.people, nesting.people(tx, group.n));
  if (record.left.people.size() > kMembersPerRead) return {};
  while (!record.left.empty()) RETURN_IF_ERROR(load_left(tx, record));
  return {};
}

/// The first groups whose members are not too many for one read; one with too many stands alone.
std::span<GroupRecord> that_fit(std::span<GroupRecord> groups) {
  std::size_t members = 0;
  std::size_t count = 0;
  while (count < groups.size() && members < kMembersPerRead) {
    if (count > 0 && is_big(groups[count])) break;
    members += static_cast<std::size_t>(groups[count++].group.member_count);
  }
  return groups.first(count);
}

using ByNumber = std::unordered_map<std::int64_t, Group*>;

Result<void> load_direct_members(Tx& tx, const ByNumber& by_n,
                                 std::span<const std::int64_t> numbers) {
  RETURN_IF_ERROR(user_members().query(tx, {}, numbers, [&by_n](const Row& row) -> Result<void> {
    by_n.at(row.integer(0))->members.push_back(user_member(row));
    return {};
  }));
  return group_members().query(tx, {}, numbers, [&by_n](const Row& row) -> Result<void> {
    by_n.at(row.integer(0))->members.push_back(group_member(row));
    return {};
  });
}

}  // namespace

Result<std::size_t> load_group_parts(Tx& tx, const Actor& actor, std::span<GroupRecord> groups,
                                     Load load) {
  if (load.members) groups = that_fit(groups);
  std::vector<std::int64_t> numbers;
  ByNumber by_n;
  for (GroupRecord& record : groups) {
    numbers.push_back(record.group.n);
    by_n.emplace(record.group.n, &record.group);
  }
  RETURN_IF_ERROR(load_external_ids(
      tx, actor, row::kGroup, numbers,
      [&by_n](GroupN n, std::string&& value) { by_n.at(n)->external_id = std::move(value); }));
  if (!load.members) return groups.size();
  if (!groups.empty() && is_big(groups.front())) {
    GroupRecord& record = groups.front();
    ASSIGN_OR_RETURN(DirectMembers direct, direct_members(tx, record.group.n));
    record.left.people = std::move(direct.people);
    record.left.groups = std::move(direct.groups);
  } else {
    RETURN_IF_ERROR(load_direct_members(tx, by_n, numbers));
  }
  if (load.flattened == nullptr) return groups.size();
  std::size_t members = 0;
  std::size_t filled = 0;
  while (filled < groups.size() && members < kMembersPerRead) {
    GroupRecord& record = groups[filled];
    RETURN_IF_ERROR(flatten(tx, *load.flattened, record));
    if (filled > 0 && !record.left.empty()) break;  // for a read of its own
    members += record.group.members.size() + record.left.size();
    ++filled;
  }
  return filled;
}

Result<GroupRows> read_groups(store::Database& db, Nesting* nesting,
                              const std::function<Result<GroupRows>(Tx&)>& read) {
  constexpr int kAttemptsMax = 3;
  for (int attempt = 1;; ++attempt) {
    const bool at_once = attempt == kAttemptsMax;
    if (attempt > 1 && nesting != nullptr) nesting->forget();
    ASSIGN_OR_RETURN(GroupRows rows, db.read([&read, at_once](Tx& tx) -> Result<GroupRows> {
      ASSIGN_OR_RETURN(GroupRows found, read(tx));
      if (found.records.empty()) return found;
      GroupRecord& first = found.records.front();
      while (at_once && !first.left.empty()) RETURN_IF_ERROR(load_left(tx, first));
      return found;
    }));
    if (rows.records.empty()) return rows;
    GroupRecord& first = rows.records.front();
    bool same = true;
    while (same && !first.left.empty()) {
      ASSIGN_OR_RETURN(same, db.read([&first](Tx& tx) -> Result<bool> {
        // Who was deleted left the group: a later version. Members of groups nested in it, of whom
        // it does not tell, are missing then.
        ASSIGN_OR_RETURN(const auto version, tx.query_one(kVersion, integer_column, first.group.n));
        if (version != first.group.version) return false;
        RETURN_IF_ERROR(load_left(tx, first));
        return true;
      }));
    }
    if (same) return rows;
  }
}

Result<std::vector<MemberRow>> members_of(Tx& tx, GroupN group) {
  std::vector<MemberRow> members;
  const std::int64_t numbers[] = {group};
  const auto append = [&members](int kind) {
    return [&members, kind](const Row& row) -> Result<void> {
      members.push_back({kind, row.integer(1), std::string(row.text(2))});
      return {};
    };
  };
  RETURN_IF_ERROR(user_members().query(tx, {}, numbers, append(row::kUser)));
  RETURN_IF_ERROR(group_members().query(tx, {}, numbers, append(row::kGroup)));
  return members;
}

}  // namespace roster::directory
