#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "directory/candidates.h"
#include "directory/impl.h"
#include "directory/journal.h"
#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// kTooLarge when a request names more members than one request may: 100,000, or as many as the
/// group has (`present`).
Result<void> check_member_count(std::size_t named, std::int64_t present);

/// Who an id is, as of a read before the write: SCIM ids are never given to anybody else. So the
/// reads need not be of one moment.
using KnownMembers = std::unordered_map<std::string, MemberRef>;
Result<KnownMembers> known_members(store::Database& database, OrgN org,
                                   std::span<const MemberOp> operations);

/// Set operations on the members of one group, and what is left of them in the end.
class MemberEdit {
 public:
  MemberEdit(store::Tx& tx, GroupN group, const OrgSettings& settings, const KnownMembers& known)
      : tx_(tx), group_(group), nests_(settings.nested_groups), known_(known) {}

  /// In order. kInvalidArgument (keyword "invalidValue") naming who cannot be a member.
  Result<void> apply(std::span<const MemberOp> operations);

  bool empty() const { return net_.empty(); }
  std::int64_t count_change() const;
  std::vector<ChangeRow> changes() const;
  void describe(Diff& diff) const;

 private:
  using Member = std::pair<int, std::int64_t>;  // kind, number
  struct Net {
    bool joined = false;
    std::string id;
  };

  Result<void> apply(const MemberOp& op);
  Result<Member> resolve(const std::string& id) const;
  void note(const Member& member, bool joined, std::string_view id);
  Result<void> add(const Member& member, std::string_view id);
  Result<void> remove(const Member& member, std::string_view id);
  Result<void> add_all(std::span<const std::string> ids);
  Result<void> remove_all(std::span<const std::string> ids);
  Result<void> replace_all(std::span<const std::string> ids);

  store::Tx& tx_;
  const GroupN group_;
  const bool nests_;
  const KnownMembers& known_;
  std::map<Member, Net> net_;
};

}  // namespace roster::directory
