#pragma once

#include <cstdint>
#include <functional>
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

/// Members of a group that are too many to be read in one transaction: their numbers, to be read by
/// these in several.
struct MembersLeft {
  std::vector<UserN> people;
  std::vector<GroupN> groups;
  std::size_t read = 0;  // of all people, then of all groups
  bool by_id = false;    // in order of id, once all are read

  std::size_t size() const { return people.size() + groups.size() - read; }
  bool empty() const { return size() == 0; }
};

/// A group with what only the directory needs.
struct GroupRecord {
  Group group;
  ClientN owner = 0;
  std::string name_key;
  std::string doc_text;
  MembersLeft left;
};

/// A page of groups.
struct GroupRows {
  std::vector<GroupRecord> records;
  bool more = false;
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
/// groups are filled in: at least the first, and not those behind the one that ends the read. The
/// first may have members left, when it has more than kMembersPerRead.
Result<std::size_t> load_group_parts(store::Tx& tx, const Actor& actor,
                                     std::span<GroupRecord> groups, Load load);

/// What `read` gives, which uses load_group_parts(), with the members that are left, read in
/// further transactions: who they are is of one moment, what they are called of a later one. When
/// others join or leave meanwhile, everything is read again, and at last in one transaction.
Result<GroupRows> read_groups(store::Database& db, Nesting* nesting,
                              const std::function<Result<GroupRows>(store::Tx&)>& read);

/// A row of `member` with the SCIM id.
struct MemberRow {
  int kind = 0;
  std::int64_t n = 0;
  std::string id;
};
Result<std::vector<MemberRow>> members_of(store::Tx& tx, GroupN group);

}  // namespace roster::directory
