#include "directory/identity.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "base/unicode.h"
#include "directory/id_blocks.h"
#include "directory/impl.h"
#include "directory/schema.h"
#include "posix/id_ranges.h"
#include "posix/names.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::uint32_t kHomeSuffixesMax = 1000;

constexpr Statement kByName{
    "identity.by_name",
    "SELECT n, next_suffix, kind, holder FROM posix_id WHERE org = $1 AND name = $2"};
constexpr Statement kSetNextSuffix{"identity.set_next_suffix",
                                   "UPDATE posix_id SET next_suffix = $2 WHERE n = $1"};
constexpr Statement kInsert{
    "identity.insert",
    "INSERT INTO posix_id (org, kind, number, name, state, home, gid, created) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING n"};
// Without a number the name is a path with the resource's id, which is nobody's login or home.
constexpr Statement kInsertBare{"identity.insert_bare",
                                "INSERT INTO posix_id (org, kind, name, state, created) "
                                "VALUES ($1, $2, '//' || $3, $4, $5) RETURNING n"};
constexpr Statement kFill{
    "identity.fill",
    "UPDATE posix_id SET number = $2, name = $3, home = $4, gid = $5, shell = $6 WHERE n = $1"};
// What waited gives all it had to the resource's row and is nobody from then on.
constexpr Statement kEmptyReserved{
    "identity.empty_reserved",
    "UPDATE posix_id SET number = NULL, name = '//' || n, home = NULL, gid = NULL, "
    "shell = NULL, gecos = NULL, kind = 3, state = 3, bound_client = NULL, bound_external = NULL, "
    "bound_key = NULL WHERE n = $1"};
constexpr Statement kBare{"identity.bare",
                          "SELECT n, kind FROM posix_id WHERE org = $1 AND number IS NULL "
                          "AND kind <= 2 AND state <> 3 AND n > $2 ORDER BY n LIMIT $3"};
constexpr Statement kLivingGroup{
    "identity.living_group",
    "SELECT g.n FROM posix_id p JOIN grp g ON g.n = p.n WHERE p.org = $1 AND p.number = $2"};
constexpr Statement kReservedGroup{
    "identity.reserved_group",
    "SELECT n FROM posix_id WHERE org = $1 AND number = $2 AND kind = 2 AND state = 0"};
// From each to the next higher one, by the index: there are few, and many who have them.
constexpr Statement kPrimaryGids{
    "identity.primary_gids",
    "WITH RECURSIVE held (gid) AS (SELECT MIN(gid) FROM posix_id WHERE org = $1 AND gid IS NOT "
    "NULL "
    "UNION ALL SELECT (SELECT MIN(p.gid) FROM posix_id p WHERE p.org = $1 AND p.gid > held.gid) "
    "FROM held WHERE held.gid IS NOT NULL) SELECT gid FROM held WHERE gid IS NOT NULL"};
constexpr Statement kWithPrimaryGroup{
    "identity.with_primary_group",
    "SELECT n FROM posix_id WHERE org = $1 AND gid = $2 AND state <> 3 LIMIT 1"};
constexpr Statement kInsertReserved{
    "identity.insert_reserved",
    "INSERT INTO posix_id (org, kind, number, name, state, gid, home, shell, gecos, bound_client, "
    "bound_external, bound_key, created) "
    "VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING n"};
constexpr Statement kChangeReserved{
    "identity.change_reserved",
    "UPDATE posix_id SET gid = $2, home = $3, shell = $4, gecos = $5, bound_client = $6, "
    "bound_external = $7, bound_key = $8 WHERE n = $1 AND state = 0"};
constexpr Statement kInsertFormerName{
    "identity.insert_former_name",
    "INSERT INTO posix_id (org, kind, name, state, holder, created) "
    "VALUES ($1, 3, $2, 3, $3, $4)"};
constexpr Statement kSetName{"identity.set_name", "UPDATE posix_id SET name = $2 WHERE n = $1"};
#define ROSTER_WAITING_COLUMNS                                                              \
  "SELECT n, number, name, home, state, bound_client, COALESCE(freed, 0), bound_external, " \
  "gid, shell FROM posix_id "
constexpr Statement kWaitingExternal{"identity.waiting_external", ROSTER_WAITING_COLUMNS
                                     "WHERE org = $1 AND bound_external = $2 AND kind = $3"};
constexpr Statement kWaitingKey{"identity.waiting_key", ROSTER_WAITING_COLUMNS
                                "WHERE org = $1 AND bound_key = $2 AND kind = $3"};
#undef ROSTER_WAITING_COLUMNS
constexpr Statement kBind{
    "identity.bind",
    "UPDATE posix_id SET state = $2, bound_client = NULL, bound_external = NULL, "
    "bound_key = NULL, bound_id = NULL, left_at = NULL, freed = NULL, gid = $3, "
    "gecos = NULL WHERE n = $1"};
constexpr Statement kHomeOwner{
    "identity.home_owner",
    "SELECT COALESCE(holder, n) FROM posix_id WHERE org = $1 AND home = $2 AND n <> $3 "
    "AND COALESCE(holder, -1) <> $3"};
constexpr Statement kHomeInside{"identity.home_inside",
                                "SELECT COALESCE(holder, n) FROM posix_id WHERE org = $1 AND home "
                                ">= $2 AND home < $3 AND n <> $4 "
                                "AND COALESCE(holder, -1) <> $4 LIMIT 1"};
constexpr Statement kSetHome{"identity.set_home", "UPDATE posix_id SET home = $2 WHERE n = $1"};
constexpr Statement kHomeOf{"identity.home_of", "SELECT home FROM posix_id WHERE n = $1"};
// A path is nobody's login, so it can stand in the column of names, which must be unique.
constexpr Statement kInsertFormerHome{
    "identity.insert_former_home",
    "INSERT INTO posix_id (org, kind, name, state, holder, home, created) "
    "VALUES ($1, 4, $2, 3, $3, $2, $4)"};
constexpr Statement kFindFormerHome{
    "identity.find_former_home",
    "SELECT n FROM posix_id WHERE org = $1 AND name = $2 AND kind = 4 AND holder = $3"};
constexpr Statement kEmptyFormerHome{
    "identity.empty_former_home", "UPDATE posix_id SET home = NULL, name = '//' || n WHERE n = $1"};
constexpr Statement kFillFormerHome{"identity.fill_former_home",
                                    "UPDATE posix_id SET home = $2, name = $2 WHERE n = $1"};
constexpr Statement kInsertReservedName{
    "identity.insert_reserved_name",
    "INSERT INTO posix_id (org, kind, name, state, created) VALUES ($1, 3, $2, 3, $3) "
    "RETURNING n"};
constexpr Statement kLock{"identity.lock",
                          "UPDATE posix_id SET state = 2, left_at = $2 WHERE n = $1"};
constexpr Statement kUnlock{"identity.unlock",
                            "UPDATE posix_id SET state = 1, left_at = NULL WHERE n = $1"};
constexpr Statement kBury{
    "identity.bury",
    "UPDATE posix_id SET state = 3, bound_id = $2, bound_key = $3, bound_client = $4, "
    "bound_external = $5, freed = $6, left_at = COALESCE(left_at, $7) WHERE n = $1"};

struct NameRow {
  std::int64_t n;
  std::uint32_t next_suffix;
  std::int64_t kind;
  std::optional<std::int64_t> holder;
};

Result<std::optional<NameRow>> find_name(Tx& tx, OrgN org, std::string_view name) {
  return tx.query_one(
      kByName,
      [](const Row& row) {
        return NameRow{row.integer(0), static_cast<std::uint32_t>(row.integer(1)), row.integer(2),
                       row.integer_or_null(3)};
      },
      org, name);
}

/// Names are never freed, so the smallest free suffix of a base only rises: it is kept in the row
/// that has the base as its name (a row of nobody when it is reserved), and the thousandth "john"
/// costs no more than the second.
Result<std::string> allocate_name(Tx& tx, OrgN org, const Rules& rules, int kind,
                                  std::string_view wanted, std::uint32_t number, Timestamp now) {
  const bool group = kind == row::kGroup;
  std::string base = posix::propose_name(wanted);
  if (base.empty()) base = (group ? 'g' : 'u') + std::to_string(number);
  if (group) base = (rules.settings.group_prefix + base).substr(0, posix::kNameBytesMax);
  ASSIGN_OR_RETURN(std::optional<NameRow> holder, find_name(tx, org, base));
  if (!holder && !rules.reserves(base)) return base;
  if (!holder) {
    ASSIGN_OR_RETURN(const std::optional<std::int64_t> n,
                     tx.query_one(kInsertReservedName, integer_column, org, base, to_millis(now)));
    CHECK(n);
    holder = NameRow{*n, 2, row::kFormerName, std::nullopt};
  }
  for (std::uint32_t suffix = holder->next_suffix;; ++suffix) {
    std::string name = posix::with_suffix(base, suffix);
    if (rules.reserves(name)) continue;
    ASSIGN_OR_RETURN(const std::optional<NameRow> taken, find_name(tx, org, name));
    if (taken) continue;
    RETURN_IF_ERROR(tx.execute(kSetNextSuffix, holder->n, suffix + 1));
    return name;
  }
}

/// An identity without a resource: reserved, or a tombstone.
struct Waiting {
  Identity identity;
  std::int64_t state;
  std::optional<std::int64_t> client;
  std::int64_t freed;
};

/// Of those bound to this externalId or name. An externalId that is known and another says that it
/// is not the same person, whatever the name.
Result<std::optional<Waiting>> best_waiting(Tx& tx, const Statement& statement,
                                            const IdentityRequest& request, std::string_view value,
                                            bool tombstones) {
  std::optional<Waiting> best;
  RETURN_IF_ERROR(tx.query(
      statement,
      [&](const Row& row) -> Result<void> {
        if (row.is_null(1)) return {};  // deleted before it had an identity
        Waiting found{{{static_cast<std::uint64_t>(row.integer(0)),
                        static_cast<std::uint32_t>(row.integer(1)), std::string(row.text(2)),
                        IdentityState::kActive, primary_gid(row, 8, 1)},
                       row.text_or_null(3).value_or(""),
                       row.text_or_null(9).value_or("")},
                      row.integer(4),
                      row.integer_or_null(5),
                      row.integer(6)};
        const bool same_client = !found.client || *found.client == request.client;
        if (!same_client || (found.state == row::kTombstone && !tombstones)) return {};
        const std::optional<std::string> external_id = row.text_or_null(7);
        if (&statement == &kWaitingKey && external_id && request.external_id &&
            *external_id != *request.external_id) {
          return {};
        }
        if (&statement == &kWaitingKey) {
          // Without a client anybody's userName would do; the externalId is the stronger tie.
          if (found.state == row::kReserved && external_id && !found.client) return {};
          if (!binds_key(value, request.pushed)) return {};
        }
        // What an import reserved comes first, then who left last.
        const auto rank = [](const Waiting& w) { return std::pair(-w.state, w.freed); };
        if (!best || rank(found) > rank(*best)) best = std::move(found);
        return {};
      },
      request.org, value, request.kind));
  return best;
}

Result<std::optional<Waiting>> find_waiting(Tx& tx, const IdentityRequest& request,
                                            bool tombstones) {
  if (request.external_id) {
    ASSIGN_OR_RETURN(auto found,
                     best_waiting(tx, kWaitingExternal, request, *request.external_id, tombstones));
    if (found) return found;
  }
  return best_waiting(tx, kWaitingKey, request, request.key, tombstones);
}

Result<bool> home_is_free(Tx& tx, OrgN org, std::uint64_t n, std::string_view home) {
  ASSIGN_OR_RETURN(const auto owner, home_owner(tx, org, n, home));
  return !owner;
}

Error home_taken(std::string_view home) {
  return {Code::kInvalidArgument,
          "sunkPreferredHomeDirectory: " + std::string(home) +
              " is, or was, another person's home, lies inside one or holds one",
          "invalidValue"};
}

/// To a home that is free for it. The present one stays its own; one that was its own before
/// changes places with the present one.
Result<void> move_home(Tx& tx, OrgN org, std::uint64_t n, std::string_view home, Timestamp now) {
  ASSIGN_OR_RETURN(
      const auto row,
      tx.query_one(kHomeOf, [](const Row& found) { return found.text_or_null(0); }, n));
  CHECK(row);
  const std::optional<std::string>& present = *row;
  if (present == home) return {};
  ASSIGN_OR_RETURN(const auto former, tx.query_one(kFindFormerHome, integer_column, org, home, n));
  if (former) RETURN_IF_ERROR(tx.execute(kEmptyFormerHome, *former));
  RETURN_IF_ERROR(tx.execute(kSetHome, n, home));
  if (!present) return {};
  if (former) {
    RETURN_IF_ERROR(tx.execute(kFillFormerHome, *former, *present));
  } else {
    RETURN_IF_ERROR(tx.execute(kInsertFormerHome, org, *present, n, to_millis(now)));
  }
  return {};
}

/// As columns: NULL for a group's home and for a private group's gid.
std::optional<std::string_view> column(const std::string& text) {
  if (text.empty()) return std::nullopt;
  return text;
}
std::optional<std::int64_t> gid_column(const PosixIdentity& posix) {
  if (posix.gid == posix.number) return std::nullopt;
  return posix.gid;
}

/// A primary group that was deleted while nobody had it gives way to what is given today. One that
/// was imported and waits, too, is on its way.
Result<void> check_primary_group(Tx& tx, const Rules& rules, const IdentityRequest& request,
                                 PosixIdentity& posix) {
  if (posix.gid == posix.number) return {};
  ASSIGN_OR_RETURN(const auto group, expected_group(tx, request.org, posix.gid));
  if (group) return {};
  posix.gid = rules.settings.primary_gid != 0 ? rules.settings.primary_gid : posix.number;
  return {};
}

IdentityState living_state(const IdentityRequest& request) {
  return request.active ? IdentityState::kActive : IdentityState::kLocked;
}

Result<Identity> bind_waiting(Tx& tx, const Rules& rules, const IdentityRequest& request,
                              Identity identity) {
  const std::uint64_t n = identity.posix.n;
  if (request.kind == row::kUser) {
    if (request.home) {
      ASSIGN_OR_RETURN(const bool free, home_is_free(tx, request.org, n, *request.home));
      if (!free) return std::unexpected(home_taken(*request.home));
      identity.home = *request.home;
    } else if (identity.home.empty()) {
      ASSIGN_OR_RETURN(identity.home, default_home(tx, request.org, rules, n, identity.posix.name,
                                                   identity.posix.number));
    }
  }
  identity.posix.state = living_state(request);
  if (!identity.home.empty()) {
    RETURN_IF_ERROR(move_home(tx, request.org, n, identity.home, request.now));
  }
  RETURN_IF_ERROR(check_primary_group(tx, rules, request, identity.posix));
  RETURN_IF_ERROR(tx.execute(kBind, n, request.active ? row::kActive : row::kLocked,
                             gid_column(identity.posix)));
  return identity;
}

/// With the next number and a free name. `n`: the row that it is for; 0: none yet.
Result<Identity> new_identity(Tx& tx, const Rules& rules, const IdentityRequest& request,
                              std::uint64_t n) {
  if (request.numbers_held) {
    return fail(Code::kUnavailable,
                "the hub was just started on a store that may be a restored one: no new ids until "
                "its nodes were heard");
  }
  Identity identity;
  PosixIdentity& posix = identity.posix;
  posix.state = living_state(request);
  ASSIGN_OR_RETURN(posix.number, take_number(tx, request.org));
  ASSIGN_OR_RETURN(posix.name, allocate_name(tx, request.org, rules, request.kind, request.wanted,
                                             posix.number, request.now));
  posix.gid = posix.number;
  if (request.kind != row::kUser) return identity;
  if (rules.settings.primary_gid != 0) posix.gid = rules.settings.primary_gid;
  if (request.home) {
    ASSIGN_OR_RETURN(const bool free, home_is_free(tx, request.org, n, *request.home));
    if (!free) return std::unexpected(home_taken(*request.home));
    identity.home = *request.home;
  } else {
    ASSIGN_OR_RETURN(identity.home,
                     default_home(tx, request.org, rules, n, posix.name, posix.number));
  }
  return identity;
}

}  // namespace

bool binds_key(std::string_view key, std::string_view pushed) { return plain_lower(pushed) == key; }

Result<Identity> allocate_identity(Tx& tx, const Rules& rules, const IdentityRequest& request) {
  // Nodes are not told who was in a deleted group: its number bound again would bring them back.
  const bool tombstones = rules.settings.rebind_deleted && request.kind == row::kUser;
  ASSIGN_OR_RETURN(std::optional<Waiting> waiting, find_waiting(tx, request, tombstones));
  if (waiting) return bind_waiting(tx, rules, request, std::move(waiting->identity));

  ASSIGN_OR_RETURN(Identity identity, new_identity(tx, rules, request, 0));
  ASSIGN_OR_RETURN(
      const std::optional<std::int64_t> n,
      tx.query_one(kInsert, integer_column, request.org, request.kind, identity.posix.number,
                   identity.posix.name, request.active ? row::kActive : row::kLocked,
                   column(identity.home), gid_column(identity.posix), to_millis(request.now)));
  CHECK(n);
  identity.posix.n = static_cast<std::uint64_t>(*n);
  return identity;
}

Result<NewIdentity> identity_for(Tx& tx, const Rules& rules, const IdentityRequest& request,
                                 std::string_view id) {
  NewIdentity made;
  if (rules.settings.user_provisioning) {
    ASSIGN_OR_RETURN(Identity identity, allocate_identity(tx, rules, request));
    made.n = static_cast<std::int64_t>(identity.posix.n);
    made.posix = std::move(identity.posix);
    made.home = std::move(identity.home);
    made.shell = std::move(identity.shell);
  } else {
    ASSIGN_OR_RETURN(
        const std::optional<std::int64_t> n,
        tx.query_one(kInsertBare, integer_column, request.org, request.kind, id,
                     request.active ? row::kActive : row::kLocked, to_millis(request.now)));
    CHECK(n);
    made.n = *n;
  }
  return made;
}

Result<Identity> fill_identity(Tx& tx, const Rules& rules, IdentityRequest request,
                               std::uint64_t n) {
  ASSIGN_OR_RETURN(std::optional<Waiting> waiting, find_waiting(tx, request, false));
  Identity identity;
  if (waiting) {
    identity = std::move(waiting->identity);
    RETURN_IF_ERROR(empty_reserved(tx, static_cast<std::int64_t>(identity.posix.n)));
    RETURN_IF_ERROR(check_primary_group(tx, rules, request, identity.posix));
  }
  const std::string imported_home = identity.home;
  if (request.home) {
    ASSIGN_OR_RETURN(const bool free, home_is_free(tx, request.org, n, *request.home));
    if (!free) request.home = std::nullopt;
  }
  if (identity.posix.number == 0) {
    ASSIGN_OR_RETURN(identity, new_identity(tx, rules, request, n));
  } else if (request.kind == row::kUser && request.home) {
    identity.home = *request.home;
  } else if (request.kind == row::kUser && identity.home.empty()) {
    ASSIGN_OR_RETURN(identity.home, default_home(tx, request.org, rules, n, identity.posix.name,
                                                 identity.posix.number));
  }
  identity.posix.n = n;
  identity.posix.state = living_state(request);
  RETURN_IF_ERROR(tx.execute(kFill, n, identity.posix.number, identity.posix.name,
                             column(identity.home), gid_column(identity.posix),
                             column(identity.shell)));
  // Their files may lie there: nobody else gets it.
  if (!imported_home.empty() && imported_home != identity.home) {
    RETURN_IF_ERROR(
        tx.execute(kInsertFormerHome, request.org, imported_home, n, to_millis(request.now)));
  }
  return identity;
}

Result<std::vector<BareIdentity>> bare_identities(Tx& tx, OrgN org, std::int64_t after,
                                                  std::size_t limit) {
  std::vector<BareIdentity> found;
  RETURN_IF_ERROR(tx.query(
      kBare,
      [&found](const Row& row) -> Result<void> {
        found.push_back({row.integer(0), static_cast<int>(row.integer(1))});
        return {};
      },
      org, after, limit));
  return found;
}

Result<std::optional<std::int64_t>> living_group(Tx& tx, OrgN org, std::uint32_t gid) {
  return tx.query_one(kLivingGroup, integer_column, org, gid);
}

Result<std::optional<std::int64_t>> expected_group(Tx& tx, OrgN org, std::uint32_t gid) {
  ASSIGN_OR_RETURN(const auto living, living_group(tx, org, gid));
  if (living) return living;
  return tx.query_one(kReservedGroup, integer_column, org, gid);
}

Result<std::vector<std::int64_t>> primary_groups(Tx& tx, OrgN org, const OrgSettings& settings) {
  std::set<std::int64_t> gids;
  if (settings.primary_gid != 0) gids.insert(settings.primary_gid);
  const auto insert = [&gids](const Row& row) -> Result<void> {
    gids.insert(row.integer(0));
    return {};
  };
  RETURN_IF_ERROR(tx.query(kPrimaryGids, insert, org));
  std::vector<std::int64_t> groups;
  for (const std::int64_t gid : gids) {
    ASSIGN_OR_RETURN(const auto n, living_group(tx, org, static_cast<std::uint32_t>(gid)));
    if (n) groups.push_back(*n);
  }
  std::ranges::sort(groups);
  return groups;
}

Result<bool> is_primary_group(Tx& tx, OrgN org, std::uint32_t gid) {
  ASSIGN_OR_RETURN(const auto n, tx.query_one(kWithPrimaryGroup, integer_column, org, gid));
  return n.has_value();
}

std::uint32_t primary_gid(const Row& row, int gid_column, int number_column) {
  return static_cast<std::uint32_t>(
      row.integer_or_null(gid_column).value_or(row.integer(number_column)));
}

namespace {

std::optional<std::int64_t> gid_column(const ReservedIdentity& reserved) {
  if (reserved.gid == reserved.number || reserved.gid == 0) return std::nullopt;
  return reserved.gid;
}

}  // namespace

Result<std::uint64_t> reserve_identity(Tx& tx, OrgN org, const ReservedIdentity& reserved,
                                       Timestamp now) {
  ASSIGN_OR_RETURN(const std::optional<std::int64_t> n,
                   tx.query_one(kInsertReserved, integer_column, org, reserved.kind,
                                reserved.number, reserved.name, gid_column(reserved), reserved.home,
                                reserved.shell, reserved.gecos, reserved.client,
                                reserved.external_id, reserved.key, to_millis(now)));
  CHECK(n);
  return static_cast<std::uint64_t>(*n);
}

Result<void> change_reserved(Tx& tx, std::int64_t n, const ReservedIdentity& reserved) {
  RETURN_IF_ERROR(tx.execute(kChangeReserved, n, gid_column(reserved), reserved.home,
                             reserved.shell, reserved.gecos, reserved.client, reserved.external_id,
                             reserved.key));
  return {};
}

Result<void> empty_reserved(Tx& tx, std::int64_t n) {
  RETURN_IF_ERROR(tx.execute(kEmptyReserved, n));
  return {};
}

Result<std::optional<std::int64_t>> home_owner(Tx& tx, OrgN org, std::uint64_t n,
                                               std::string_view home) {
  for (std::size_t end = home.size(); end > 0 && end != std::string_view::npos;
       end = home.rfind('/', end - 1)) {
    ASSIGN_OR_RETURN(const auto owner,
                     tx.query_one(kHomeOwner, integer_column, org, home.substr(0, end), n));
    if (owner) return owner;
  }
  // '0' is the character after '/': all paths inside.
  const std::string inside = std::string(home) + '/';
  const std::string beyond = std::string(home) + '0';
  return tx.query_one(kHomeInside, integer_column, org, inside, beyond, n);
}

Result<void> rename_identity(Tx& tx, OrgN org, const Rules& rules, const PosixIdentity& identity,
                             std::string_view name, Timestamp now) {
  if (rules.reserves(name)) {
    return fail(Code::kInvalidArgument,
                "the name " + std::string(name) + " is reserved for accounts of the nodes");
  }
  ASSIGN_OR_RETURN(const std::optional<NameRow> taken, find_name(tx, org, name));
  const auto n = static_cast<std::int64_t>(identity.n);
  if (!taken) {
    RETURN_IF_ERROR(tx.execute(kSetName, n, name));
    RETURN_IF_ERROR(tx.execute(kInsertFormerName, org, identity.name, n, to_millis(now)));
    return {};
  }
  if (taken->kind != row::kFormerName || taken->holder != n) {
    return fail(Code::kAlreadyExists, "the name " + std::string(name) + " is, or was, another's",
                "uniqueness");
  }
  // Back to a name of its own: the two rows swap theirs, by way of one that nobody can have.
  RETURN_IF_ERROR(tx.execute(kSetName, taken->n, ""));
  RETURN_IF_ERROR(tx.execute(kSetName, n, name));
  RETURN_IF_ERROR(tx.execute(kSetName, taken->n, identity.name));
  return {};
}

Result<void> set_home(Tx& tx, OrgN org, std::uint64_t n, std::string_view home, Timestamp now) {
  ASSIGN_OR_RETURN(const bool free, home_is_free(tx, org, n, home));
  if (!free) return std::unexpected(home_taken(home));
  return move_home(tx, org, n, home, now);
}

Result<std::string> default_home(Tx& tx, OrgN org, const Rules& rules, std::uint64_t n,
                                 std::string_view login, std::uint32_t number) {
  ASSIGN_OR_RETURN(const posix::LoginName name, posix::LoginName::parse(login));
  const std::string base = rules.home_template.expand(name, number);
  std::string home = base;
  for (std::uint32_t suffix = 2; suffix < kHomeSuffixesMax; ++suffix) {
    ASSIGN_OR_RETURN(const bool free, home_is_free(tx, org, n, home));
    if (free) return home;
    home = base + std::to_string(suffix);
  }
  return fail(Code::kFailedPrecondition,
              "every home like " + base + " is, or was, another person's, or lies inside one");
}

Result<void> lock_identity(Tx& tx, std::int64_t n, Timestamp now) {
  RETURN_IF_ERROR(tx.execute(kLock, n, to_millis(now)));
  return {};
}

Result<void> unlock_identity(Tx& tx, std::int64_t n) {
  RETURN_IF_ERROR(tx.execute(kUnlock, n));
  return {};
}

Result<void> bury_identity(Tx& tx, std::int64_t n, const Binding& binding, bool left_now,
                           Timestamp now) {
  const std::optional<std::int64_t> left = left_now ? std::optional(to_millis(now)) : std::nullopt;
  RETURN_IF_ERROR(tx.execute(kBury, n, binding.id, binding.key, binding.client, binding.external_id,
                             to_millis(now), left));
  return {};
}

}  // namespace roster::directory
