#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "directory/settings.h"
#include "directory/types.h"
#include "store/database.h"

namespace roster::directory {

/// Who asks for a POSIX identity.
struct IdentityRequest {
  OrgN org = 0;
  int kind = 0;             // row::kUser, row::kGroup
  std::string_view wanted;  // what the name is made from
  std::string_view key;     // of the userName or displayName: its case key
  std::string_view pushed;  // the same as it was pushed
  std::optional<std::string_view> external_id;
  ClientN client = 0;  // whose externalId
  bool active = true;
  std::optional<std::string_view> home;  // asked for, already parsed; users only
  /// An identity that waits may be bound, but no new number be taken.
  bool numbers_held = false;
  Timestamp now{};
};

struct Identity {
  PosixIdentity posix;
  std::string home;   // of users
  std::string shell;  // of users: what an import said, or empty
};

/// Whether an identity that waits for a text with this case key, reserved or of somebody deleted,
/// is bound by the pushed one. The key makes one of many texts that are not the same to a provider:
/// a soft hyphen vanishes, the Kelvin sign becomes a k. Uniqueness wants that, but whoever may
/// choose such a text must not get another's files: only what differs in nothing but case binds.
bool binds_key(std::string_view key, std::string_view pushed);

/// The identity for a new resource: a reserved one that waits for its externalId or userName; the
/// tombstone of the same person when the organization wants that; else a new one with the next
/// number and a free name. kFailedPrecondition when all ids of the hub are given out,
/// kUnavailable when numbers are held, kInvalidArgument (keyword "invalidValue") when the home is
/// another's.
Result<Identity> allocate_identity(store::Tx& tx, const Rules& rules,
                                   const IdentityRequest& request);

/// The row of a new resource in posix_id.
struct NewIdentity {
  std::int64_t n = 0;
  std::optional<PosixIdentity> posix;  // nothing: a bare row
  std::string home, shell;             // of users
};
/// With or without an identity, as the organization wants it; `id` is the resource's.
Result<NewIdentity> identity_for(store::Tx& tx, const Rules& rules, const IdentityRequest& request,
                                 std::string_view id);

/// Gives the bare row `n` the identity that allocate_identity() would give the resource today, but
/// no tombstone's; a home that it asked for and that is another's by now gives way to the default.
Result<Identity> fill_identity(store::Tx& tx, const Rules& rules, IdentityRequest request,
                               std::uint64_t n);

struct BareIdentity {
  std::int64_t n = 0;
  int kind = 0;
};
/// Living ones with a higher n than `after`, in order of n.
Result<std::vector<BareIdentity>> bare_identities(store::Tx& tx, OrgN org, std::int64_t after,
                                                  std::size_t limit);

/// The group with this gid, if there is one now.
Result<std::optional<std::int64_t>> living_group(store::Tx& tx, OrgN org, std::uint32_t gid);
/// That group, or one that waits for its resource.
Result<std::optional<std::int64_t>> expected_group(store::Tx& tx, OrgN org, std::uint32_t gid);
/// Groups that are somebody's primary group, or will be the next person's. Rising.
Result<std::vector<std::int64_t>> primary_groups(store::Tx& tx, OrgN org,
                                                 const OrgSettings& settings);
/// Whether it is the primary group of somebody who is not deleted.
Result<bool> is_primary_group(store::Tx& tx, OrgN org, std::uint32_t gid);

/// Of columns `gid` and `number` of posix_id: the gid of one's own is not stored.
std::uint32_t primary_gid(const store::Row& row, int gid_column, int number_column);

/// An identity that exists elsewhere and waits for its resource: state reserved.
struct ReservedIdentity {
  int kind = 0;
  std::uint32_t number = 0;
  std::string_view name;
  std::uint32_t gid = 0;  // == number, but for people with another primary group
  std::optional<std::string_view> home = {};
  std::optional<std::string_view> shell = {};
  std::optional<std::string_view> gecos = {};
  std::optional<ClientN> client = {};  // whose push it waits for; nothing: anybody's
  std::optional<std::string_view> external_id = {};
  std::optional<std::string_view> key = {};
};
/// Its number. kAlreadyExists when the id or the name is or was somebody's. All else is the
/// caller's to judge.
Result<std::uint64_t> reserve_identity(store::Tx& tx, OrgN org, const ReservedIdentity& reserved,
                                       Timestamp now);
/// Of one that still waits, all but number and name.
Result<void> change_reserved(store::Tx& tx, std::int64_t n, const ReservedIdentity& reserved);
/// All that it had is free again; the row is nobody from then on.
Result<void> empty_reserved(store::Tx& tx, std::int64_t n);

/// New name of an identity; the present one stays taken for it. kAlreadyExists when anybody else
/// has or had it, kInvalidArgument when it is reserved.
Result<void> rename_identity(store::Tx& tx, OrgN org, const Rules& rules,
                             const PosixIdentity& identity, std::string_view name, Timestamp now);

/// Moves the home. kInvalidArgument (keyword "invalidValue") when it is another's, lies inside
/// another's or around it; deleted people's homes count.
Result<void> set_home(store::Tx& tx, OrgN org, std::uint64_t n, std::string_view home,
                      Timestamp now);

/// Who else has or had this home, one inside it or one around it.
Result<std::optional<std::int64_t>> home_owner(store::Tx& tx, OrgN org, std::uint64_t n,
                                               std::string_view home);

/// The home from the template, or the first of home2, home3, ... that is nobody's.
Result<std::string> default_home(store::Tx& tx, OrgN org, const Rules& rules, std::uint64_t n,
                                 std::string_view login, std::uint32_t number);

Result<void> lock_identity(store::Tx& tx, std::int64_t n, Timestamp now);
Result<void> unlock_identity(store::Tx& tx, std::int64_t n);

/// What a deleted resource was bound to, for those who come back.
struct Binding {
  std::string_view id;
  std::string_view key;
  ClientN client = 0;
  std::optional<std::string_view> external_id;
};
/// `left_now`: an active person, who counts as a leaver.
Result<void> bury_identity(store::Tx& tx, std::int64_t n, const Binding& binding, bool left_now,
                           Timestamp now);

}  // namespace roster::directory
