#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// What the columns of a group's row are made from: the document alone.
struct GroupColumns {
  json::object doc;
  std::string doc_text;
  std::string display_name;
  std::string name_key;
};

/// `bytes_before`: of the stored document, or 0 for a new group. kInvalidArgument (keyword
/// "invalidValue") when displayName is missing or not allowed; kTooLarge beyond kDocBytesMax when
/// the document grows.
Result<GroupColumns> group_columns(json::object doc, std::size_t bytes_before);

/// A group with what only the directory needs.
struct GroupRecord {
  Group group;
  ClientN owner = 0;
  std::string name_key;
  std::string doc_text;
};

/// Each kNotFound when there is none.
Result<GroupRecord> group_by_id(store::Tx& tx, OrgN org, std::string_view id);
Result<std::optional<GroupRecord>> group_by_key(store::Tx& tx, OrgN org, std::string_view key);
Result<std::optional<GroupRecord>> group_by_posix_name(store::Tx& tx, OrgN org,
                                                       std::string_view name);
/// As people name groups at a terminal: by SCIM id, POSIX name or displayName, in this order.
Result<GroupRecord> group_by_any_name(store::Tx& tx, OrgN org, std::string_view name_or_id);
/// In order of id.
Result<std::vector<GroupRecord>> groups_by_number(store::Tx& tx, OrgN org,
                                                  std::span<const std::int64_t> numbers);
Result<std::vector<GroupRecord>> groups_after(store::Tx& tx, OrgN org, std::string_view after_id,
                                              std::size_t limit);

/// One version more.
Result<void> bump_group(store::Tx& tx, GroupN n, Timestamp now);

/// With at least as many members one read ends.
inline constexpr std::size_t kMembersPerRead = 10'000;

/// Fills in externalIds as `actor` sees them, and the members when asked for. How many of the
/// groups are filled in: at least the first, and not those behind the one that ends the read.
Result<std::size_t> load_group_parts(store::Tx& tx, const Actor& actor,
                                     std::span<GroupRecord> groups, Load load);

/// A row of `member` with the SCIM id.
struct MemberRow {
  int kind = 0;
  std::int64_t n = 0;
  std::string id;
};
Result<std::vector<MemberRow>> members_of(store::Tx& tx, GroupN group);

}  // namespace roster::directory
