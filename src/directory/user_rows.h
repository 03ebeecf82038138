#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "directory/settings.h"
#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// What the columns of a user's row are made from: the document alone.
struct UserColumns {
  json::object doc;  // with `active`
  std::string doc_text;
  std::string user_name;
  std::string user_name_key;
  bool active = true;
  std::string gecos;
  bool home_changes = false;         // against the document before
  std::optional<std::string> home;   // asked for; checked, when it changes
  std::optional<std::string> shell;  // likewise
};

/// `before`: the stored document, or null for a new user. A home or shell that stands in it already
/// is not checked again: rules that became stricter must not keep anybody from being deactivated.
/// kInvalidArgument (keyword "invalidValue") naming the attribute that is missing or not allowed;
/// kTooLarge beyond kDocBytesMax when the document grows.
Result<UserColumns> user_columns(json::object doc, const json::object* before, const Rules& rules);

/// The home that a document asks for, as it stands there.
std::optional<std::string_view> asked_home(const json::object& doc);

/// The text that the login is made from (OrgSettings::login_from).
std::string wanted_login(const json::object& doc, const std::optional<std::string>& external_id,
                         const OrgSettings& settings);

/// A user with what only the directory needs.
struct UserRecord {
  User user;
  ClientN owner = 0;
  std::string user_name_key;
  std::string doc_text;
};

/// Each kNotFound when there is none.
Result<UserRecord> user_by_id(store::Tx& tx, OrgN org, std::string_view id);
Result<std::optional<UserRecord>> user_by_key(store::Tx& tx, OrgN org, std::string_view key);
Result<std::optional<UserRecord>> user_by_login(store::Tx& tx, OrgN org, std::string_view login);
/// In order of id.
Result<std::vector<UserRecord>> users_by_number(store::Tx& tx, OrgN org,
                                                std::span<const std::int64_t> numbers);
Result<std::vector<UserRecord>> users_after(store::Tx& tx, OrgN org, std::string_view after_id,
                                            std::size_t limit);

/// One version more.
Result<void> bump_user(store::Tx& tx, UserN n, Timestamp now);

/// Fills in externalIds as `actor` sees them, and what `load` asks for: one query each.
Result<void> load_user_parts(store::Tx& tx, const Actor& actor, std::span<UserRecord> users,
                             Load load);

}  // namespace roster::directory
