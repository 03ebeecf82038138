#include "directory/user_rows.h"

#include <algorithm>
#include <unordered_map>

#include "base/unicode.h"
#include "directory/external_ids.h"
#include "directory/identity.h"
#include "directory/impl.h"
#include "directory/keys.h"
#include "directory/query.h"
#include "directory/schema.h"
#include "directory/stored_doc.h"
#include "posix/gecos.h"
#include "posix/names.h"
#include "posix/shell.h"

namespace roster::directory {
namespace {

using store::Param;
using store::Row;
using store::Statement;
using store::Tx;

constexpr std::string_view kExtension =
    "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";
constexpr std::string_view kHomeAttribute = "sunkPreferredHomeDirectory";
constexpr std::string_view kShellAttribute = "sunkLoginShell";
constexpr std::size_t kUserNameBytesMax = 256;
constexpr std::size_t kKeyBytesMax = 1024;

#define ROSTER_USER_COLUMNS                                                                       \
  "SELECT u.n, u.id, u.active, u.owner_client, u.version, u.created, u.modified, u.valid_until, " \
  "u.user_name_key, u.doc, p.number, p.name, p.state, p.home, c.name, "                           \
  "COALESCE(u.shell, p.shell), p.gid "
#define ROSTER_USER_TABLES \
  "FROM usr u JOIN posix_id p ON p.n = u.n LEFT JOIN client c ON c.n = u.owner_client "

constexpr Statement kById{"user.by_id",
                          ROSTER_USER_COLUMNS ROSTER_USER_TABLES "WHERE u.org = $1 AND u.id = $2"};
constexpr Statement kByKey{"user.by_key", ROSTER_USER_COLUMNS ROSTER_USER_TABLES
                           "WHERE u.org = $1 AND u.user_name_key = $2"};
constexpr Statement kByLogin{
    "user.by_login", ROSTER_USER_COLUMNS
    "FROM posix_id p JOIN usr u ON u.n = p.n LEFT JOIN client c ON c.n = u.owner_client "
    "WHERE p.org = $1 AND p.name = $2"};
constexpr Statement kAfter{"user.after", ROSTER_USER_COLUMNS ROSTER_USER_TABLES
                           "WHERE u.org = $1 AND u.id > $2 ORDER BY u.id LIMIT $3"};

constexpr Statement kBump{"user.bump",
                          "UPDATE usr SET version = version + 1, modified = $2 WHERE n = $1"};

const SetStatement& by_number() {
  static const SetStatement statement(
      "user.by_number", ROSTER_USER_COLUMNS ROSTER_USER_TABLES "WHERE u.org = $1 AND u.n IN ", 1,
      "");
  return statement;
}

#undef ROSTER_USER_COLUMNS
#undef ROSTER_USER_TABLES

const SetStatement& groups_of() {
  static const SetStatement statement(
      "user.groups_of",
      "SELECT m.member_n, g.id, g.display_name, p.name FROM member m "
      "JOIN grp g ON g.n = m.group_n JOIN posix_id p ON p.n = g.n "
      "WHERE m.kind = 1 AND m.member_n IN ",
      0, "");
  return statement;
}

UserRecord read_user(const Row& row) {
  UserRecord record;
  User& user = record.user;
  user.n = row.integer(0);
  user.id = row.text(1);
  user.active = row.integer(2) != 0;
  record.owner = row.integer(3);
  user.version = row.integer(4);
  user.created = from_millis(row.integer(5));
  user.modified = from_millis(row.integer(6));
  user.valid_until = time_or_null(row, 7);
  record.user_name_key = row.text(8);
  record.doc_text = row.text(9);
  if (!row.is_null(10)) {
    user.posix =
        PosixIdentity{static_cast<std::uint64_t>(user.n),
                      static_cast<std::uint32_t>(row.integer(10)), std::string(row.text(11)),
                      static_cast<IdentityState>(row.integer(12)), primary_gid(row, 16, 10)};
  }
  user.home = row.text_or_null(13).value_or("");
  user.owner = row.text_or_null(14).value_or("");
  user.shell = row.text_or_null(15).value_or("");
  return record;
}

Result<UserRecord> finish_record(UserRecord record) {
  auto doc = parse_stored_doc(record.doc_text);
  if (!doc || !doc->is_object()) {
    return fail(Code::kDataLoss, "the stored document of user " + record.user.id + " is damaged");
  }
  record.user.doc = std::move(doc->get_object());
  return record;
}

template <typename... P>
Result<std::optional<UserRecord>> load_one(Tx& tx, const Statement& statement, const P&... params) {
  ASSIGN_OR_RETURN(std::optional<UserRecord> found, tx.query_one(statement, read_user, params...));
  if (!found) return found;
  ASSIGN_OR_RETURN(UserRecord record, finish_record(std::move(*found)));
  return std::optional(std::move(record));
}

std::unexpected<Error> invalid(std::string_view attribute, std::string_view reason) {
  return fail(Code::kInvalidArgument, std::string(attribute) + ": " + std::string(reason),
              "invalidValue");
}

/// name.formatted, given and family name, displayName, userName: the first that gives something.
std::string full_name(const json::object& doc, std::string_view user_name) {
  std::vector<std::string> candidates;
  if (const json::object* name = json::find_object(doc, "name")) {
    candidates.emplace_back(json::find_string(*name, "formatted").value_or(""));
    const std::string_view given = json::find_string(*name, "givenName").value_or("");
    const std::string_view family = json::find_string(*name, "familyName").value_or("");
    candidates.push_back(std::string(given) + ' ' + std::string(family));
  }
  candidates.emplace_back(json::find_string(doc, "displayName").value_or(""));
  candidates.emplace_back(user_name);
  for (const std::string& candidate : candidates) {
    std::string gecos = posix::sanitize_gecos(candidate);
    if (!gecos.empty()) return gecos;
  }
  return "";
}

std::optional<std::string_view> in_extension(const json::object* doc, std::string_view attribute) {
  const json::object* extension = doc == nullptr ? nullptr : json::find_object(*doc, kExtension);
  return extension == nullptr ? std::nullopt : json::find_string(*extension, attribute);
}

Result<void> read_extension(const json::object& doc, const json::object* before, const Rules& rules,
                            UserColumns& columns) {
  const std::optional<std::string_view> home = in_extension(&doc, kHomeAttribute);
  columns.home = home;
  columns.home_changes = home != in_extension(before, kHomeAttribute);
  if (home && columns.home_changes) {
    auto parsed = posix::parse_home(*home, rules.home_prefixes);
    if (!parsed) return invalid(kHomeAttribute, parsed.error().message);
    columns.home = std::move(*parsed);
  }
  const std::optional<std::string_view> shell = in_extension(&doc, kShellAttribute);
  columns.shell = shell;
  if (shell && shell != in_extension(before, kShellAttribute)) {
    const auto allowed = rules.settings.shells.empty()
                             ? posix::check_shell(*shell)
                             : posix::check_shell(*shell, rules.settings.shells);
    if (!allowed) return invalid(kShellAttribute, allowed.error().message);
  }
  return {};
}

/// Locking writes "false" for "true", which is no growth.
Result<void> check_growth(const UserColumns& columns, const json::object* before) {
  std::size_t bytes_before = 0;
  if (before != nullptr && columns.doc_text.size() > kDocBytesMax) {
    json::object stored = *before;
    stored["active"] = columns.active;
    bytes_before = json::canonical(stored).size();
  }
  return check_doc_size(columns.doc_text.size(), bytes_before);
}

}  // namespace

Result<UserColumns> user_columns(json::object doc, const json::object* before, const Rules& rules) {
  UserColumns columns;
  const std::optional<std::string_view> user_name = json::find_string(doc, "userName");
  if (!user_name || user_name->empty()) return invalid("userName", "it is required");
  if (user_name->size() > kUserNameBytesMax) {
    return invalid("userName", "longer than " + std::to_string(kUserNameBytesMax) + " bytes");
  }
  if (has_control_characters(*user_name)) return invalid("userName", "it has control characters");
  columns.user_name = *user_name;
  auto key = case_key(columns.user_name);
  if (!key) return invalid("userName", key.error().message);
  if (key->empty() || key->size() > kKeyBytesMax) {
    return invalid("userName", "it cannot be compared with others");
  }
  columns.user_name_key = std::move(*key);
  columns.active = json::find_bool(doc, "active").value_or(true);
  doc["active"] = columns.active;
  columns.gecos = full_name(doc, columns.user_name);
  RETURN_IF_ERROR(read_extension(doc, before, rules, columns));
  columns.doc_text = json::canonical(doc);
  RETURN_IF_ERROR(check_growth(columns, before));
  columns.doc = std::move(doc);
  return columns;
}

std::optional<std::string_view> asked_home(const json::object& doc) {
  return in_extension(&doc, kHomeAttribute);
}

std::string primary_email(const json::object& doc) {
  const json::array* emails = json::find_array(doc, "emails");
  if (emails == nullptr) return {};
  std::string first;
  for (const json::value& item : *emails) {
    const json::object* email = item.if_object();
    if (email == nullptr) continue;
    const std::string value(json::find_string(*email, "value").value_or(""));
    if (json::find_bool(*email, "primary").value_or(false)) return value;
    if (first.empty()) first = value;
  }
  return first;
}

std::string wanted_login(const json::object& doc, const std::optional<std::string>& external_id,
                         const OrgSettings& settings) {
  std::string wanted;
  switch (settings.login_from) {
    case LoginSource::kUserName:
      break;
    case LoginSource::kEmail:
      wanted = primary_email(doc);
      break;
    case LoginSource::kNickName:
      wanted = json::find_string(doc, "nickName").value_or("");
      break;
    case LoginSource::kExternalId:
      wanted = external_id.value_or("");
      break;
  }
  if (!posix::propose_name(wanted).empty()) return wanted;
  return std::string(json::find_string(doc, "userName").value_or(""));
}

Result<void> bump_user(Tx& tx, UserN n, Timestamp now) {
  RETURN_IF_ERROR(tx.execute(kBump, n, to_millis(now)));
  return {};
}

Result<UserRecord> user_by_id(Tx& tx, OrgN org, std::string_view id) {
  ASSIGN_OR_RETURN(std::optional<UserRecord> found, load_one(tx, kById, org, id));
  if (!found) return fail(Code::kNotFound, "there is no user with this id");
  return std::move(*found);
}

Result<std::optional<UserRecord>> user_by_key(Tx& tx, OrgN org, std::string_view key) {
  return load_one(tx, kByKey, org, key);
}

Result<std::optional<UserRecord>> user_by_login(Tx& tx, OrgN org, std::string_view login) {
  return load_one(tx, kByLogin, org, login);
}

Result<std::vector<UserRecord>> users_by_number(Tx& tx, OrgN org,
                                                std::span<const std::int64_t> numbers) {
  std::vector<UserRecord> users;
  RETURN_IF_ERROR(by_number().query(tx, {org}, numbers, [&users](const Row& row) -> Result<void> {
    ASSIGN_OR_RETURN(UserRecord record, finish_record(read_user(row)));
    users.push_back(std::move(record));
    return {};
  }));
  std::ranges::sort(users, {}, [](const UserRecord& r) -> const std::string& { return r.user.id; });
  return users;
}

Result<std::vector<UserRecord>> users_after(Tx& tx, OrgN org, std::string_view after_id,
                                            std::size_t limit) {
  std::vector<UserRecord> users;
  RETURN_IF_ERROR(tx.query(
      kAfter,
      [&users](const Row& row) -> Result<void> {
        ASSIGN_OR_RETURN(UserRecord record, finish_record(read_user(row)));
        users.push_back(std::move(record));
        return {};
      },
      org, after_id, limit));
  return users;
}

Result<void> load_user_parts(Tx& tx, const Actor& actor, std::span<UserRecord> users, Load load) {
  std::vector<std::int64_t> numbers;
  std::unordered_map<std::int64_t, User*> by_n;
  for (UserRecord& record : users) {
    numbers.push_back(record.user.n);
    by_n.emplace(record.user.n, &record.user);
  }
  RETURN_IF_ERROR(load_external_ids(
      tx, actor, row::kUser, numbers,
      [&by_n](UserN n, std::string&& value) { by_n.at(n)->external_id = std::move(value); }));
  if (load.keys) {
    RETURN_IF_ERROR(load_keys(tx, numbers, [&by_n](UserN n, SshKeyRow&& key) {
      by_n.at(n)->keys.push_back(std::move(key));
    }));
  }
  if (load.groups) {
    RETURN_IF_ERROR(groups_of().query(tx, {}, numbers, [&by_n](const Row& row) -> Result<void> {
      by_n.at(row.integer(0))
          ->groups.push_back({std::string(row.text(1)), std::string(row.text(2)),
                              std::string(row::name_or_empty(row.text(3))), true});
      return {};
    }));
    for (UserRecord& record : users) {
      std::ranges::sort(record.user.groups, {}, &Reference::id);
    }
  }
  return {};
}

}  // namespace roster::directory
