#include <array>

#include "base/encoding.h"
#include "directory/id_blocks.h"
#include "directory/identity.h"
#include "directory/impl.h"
#include "directory/keys.h"
#include "directory/orgs.h"
#include "directory/schema.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr std::size_t kSlugBytesMax = 63;

#define ROSTER_ORG_COLUMNS                                                       \
  "SELECT n, slug, epoch, seq, min_seq, user_count, active_count, group_count, " \
  "settings, created FROM org "

constexpr Statement kInsertOrg{
    "org.insert",
    "INSERT INTO org (slug, epoch, settings, created) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (slug) DO NOTHING RETURNING n"};
constexpr Statement kListOrgs{"org.list", ROSTER_ORG_COLUMNS "WHERE n > 0 ORDER BY n"};
constexpr Statement kOrgBySlug{"org.by_slug", ROSTER_ORG_COLUMNS "WHERE slug = $1"};
constexpr Statement kOrgByNumber{"org.by_number", ROSTER_ORG_COLUMNS "WHERE n = $1"};
constexpr Statement kSetSettings{"org.set_settings",
                                 "UPDATE org SET settings = $2, epoch = $3 WHERE n = $1"};
constexpr Statement kSetEpoch{"org.set_epoch", "UPDATE org SET epoch = $2 WHERE n = $1"};
constexpr Statement kInsertClient{"client.insert",
                                  "INSERT INTO client (org, name, created) VALUES ($1, $2, $3) "
                                  "ON CONFLICT (org, name) DO NOTHING RETURNING n"};
constexpr Statement kListClients{"client.list",
                                 "SELECT n, org, name FROM client WHERE org = $1 ORDER BY name"};

#undef ROSTER_ORG_COLUMNS

Result<Org> read_org(const Row& row) {
  Org org;
  org.n = row.integer(0);
  org.slug = row.text(1);
  org.epoch = row.text(2);
  org.seq = Seq{static_cast<std::uint64_t>(row.integer(3))};
  org.min_seq = Seq{static_cast<std::uint64_t>(row.integer(4))};
  org.users = row.integer(5);
  org.active_users = row.integer(6);
  org.groups = row.integer(7);
  ASSIGN_OR_RETURN(org.settings, settings_from_json(row.text(8)));
  org.created = from_millis(row.integer(9));
  return org;
}

template <typename Key>
Result<Org> load_org_by(Tx& tx, const Statement& statement, const Key& key) {
  ASSIGN_OR_RETURN(std::optional<Result<Org>> org, tx.query_one(statement, read_org, key));
  if (!org || (*org && (*org)->n == row::kHubOrg)) {
    return fail(Code::kNotFound, "there is no such organization");
  }
  return std::move(*org);
}

bool is_slug(std::string_view text) {
  if (text.empty() || text.size() > kSlugBytesMax) return false;
  for (const char c : text) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
  }
  return true;
}

/// 1 to 2^62: what the feed's cursor and JSON carry exactly enough, and never by accident that of
/// another history.
std::string new_epoch_text(const RandomBytes& random) {
  std::array<std::uint8_t, 8> bytes{};
  random(bytes);
  std::uint64_t epoch = 0;
  for (const std::uint8_t byte : bytes) epoch = epoch << 8 | byte;
  return std::to_string((epoch >> 2) + 1);
}

/// Whether records of people on nodes are other ones under the new settings.
bool changes_records(const OrgSettings& before, const OrgSettings& after) {
  return before.leaver_policy != after.leaver_policy || before.default_shell != after.default_shell;
}

/// Blocks are disjoint over all organizations, so only who sees all of them deals in them.
Result<void> check_operator(const Actor& actor) {
  if (!actor.org) return {};
  return fail(Code::kPermissionDenied,
              "only an operator makes organizations and chooses their ids");
}

Result<void> check_primary_group(Tx& tx, OrgN org, const OrgSettings& before,
                                 const OrgSettings& after) {
  const std::uint32_t gid = after.primary_gid;
  if (gid == 0 || gid == before.primary_gid) return {};
  ASSIGN_OR_RETURN(const auto group, living_group(tx, org, gid));
  if (group) return {};
  return fail(Code::kInvalidArgument,
              "primary_group: there is no group with the gid " + std::to_string(gid));
}

/// With a range that the hub gives to another organization one day, an import would have people of
/// both with one id. Judged when it changes only: what is stored must stay readable.
Result<void> check_admitted_ids(const Actor& actor, const OrgSettings& before,
                                const OrgSettings& after) {
  if (after.admitted_ids == before.admitted_ids) return {};
  if (!check_operator(actor)) {
    return fail(Code::kPermissionDenied, "only an operator's token can change admitted_ids");
  }
  for (const posix::IdBlock& block : after.admitted_ids) {
    if (!block.overlaps(posix::kSliceSpace)) continue;
    return fail(Code::kInvalidArgument,
                "admitted_ids: " + posix::format_block(block) + " meets " +
                    posix::format_block(posix::kSliceSpace) +
                    ", which the hub itself gives to organizations in slices");
  }
  return {};
}

}  // namespace

Result<Org> load_org(Tx& tx, OrgN org) { return load_org_by(tx, kOrgByNumber, org); }

Result<Org> Directory::create_org(const Actor& actor, std::string_view slug,
                                  std::optional<posix::IdBlock> ids) {
  RETURN_IF_ERROR(check_operator(actor));
  if (!is_slug(slug)) {
    return fail(Code::kInvalidArgument, "an organization's slug has 1 to 63 of a-z, 0-9 and '-'");
  }
  const std::string settings = settings_to_json({});
  return impl_->db.write([this, &actor, slug, ids, &settings](Tx& tx) -> Result<Org> {
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(const std::optional<std::int64_t> n,
                     tx.query_one(kInsertOrg, integer_column, slug,
                                  new_epoch_text(impl_->options.random), settings, to_millis(now)));
    if (!n) {
      return fail(Code::kAlreadyExists, "the organization " + std::string(slug) + " exists already",
                  "uniqueness");
    }
    RETURN_IF_ERROR(ids ? roster::directory::add_id_block(tx, *n, *ids)
                        : roster::directory::add_id_block(tx, *n));
    impl_->journal->add(journal_entry(actor, *n, now, "org.create", "org/" + std::string(slug)));
    return load_org(tx, *n);
  });
}

Result<std::vector<Org>> Directory::list_orgs() {
  return impl_->db.read([](Tx& tx) -> Result<std::vector<Org>> {
    std::vector<Org> orgs;
    RETURN_IF_ERROR(tx.query(kListOrgs, [&orgs](const Row& row) -> Result<void> {
      ASSIGN_OR_RETURN(Org org, read_org(row));
      orgs.push_back(std::move(org));
      return {};
    }));
    return orgs;
  });
}

Result<Org> Directory::org_now(std::string_view slug) {
  return impl_->db.read([slug](Tx& tx) { return load_org_by(tx, kOrgBySlug, slug); });
}

Result<Org> Directory::find_org(std::string_view slug) {
  const std::chrono::milliseconds now = impl_->options.monotonic();
  if (const auto known = impl_->orgs.find(slug, now)) return *known;
  const std::uint64_t generation = impl_->orgs.generation();
  ASSIGN_OR_RETURN(Org org, org_now(slug));
  impl_->orgs.put(generation, std::make_shared<const Org>(org), now);
  return org;
}

Result<Org> Directory::update_org_settings(const Actor& actor, OrgN org, const SettingsEdit& edit) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org, &edit](Tx& tx) -> Result<Org> {
    ASSIGN_OR_RETURN(Org current, load_org(tx, org));
    ASSIGN_OR_RETURN(const OrgSettings settings, edit(current.settings));
    RETURN_IF_ERROR(check_settings(settings));
    RETURN_IF_ERROR(check_primary_group(tx, org, current.settings, settings));
    RETURN_IF_ERROR(check_admitted_ids(actor, current.settings, settings));
    const std::string text = settings_to_json(settings);
    const std::string before = settings_to_json(current.settings);
    if (before == text) return current;
    const std::string epoch = changes_records(current.settings, settings)
                                  ? new_epoch_text(impl_->options.random)
                                  : current.epoch;
    RETURN_IF_ERROR(tx.execute(kSetSettings, org, text, epoch));
    JournalEntry entry =
        journal_entry(actor, org, impl_->now(), "org.settings", "org/" + current.slug);
    ASSIGN_OR_RETURN(const json::value old_settings, json::parse(before));
    ASSIGN_OR_RETURN(const json::value new_settings, json::parse(text));
    Diff diff;
    diff.compare(old_settings.get_object(), new_settings.get_object());
    entry.diff = diff.text();
    entry.wakes = epoch != current.epoch;
    entry.settings = true;
    if (settings.primary_gid != 0 && settings.primary_gid != current.settings.primary_gid) {
      // Views that did not show the group do now.
      ASSIGN_OR_RETURN(const auto group, living_group(tx, org, settings.primary_gid));
      if (group) entry.changes = {{row::kGroupChanged, *group, 0}};
    }
    impl_->journal->add(std::move(entry));
    return load_org(tx, org);
  });
}

Result<std::vector<OrgIdBlock>> Directory::id_blocks(OrgN org) {
  return impl_->db.read([org](Tx& tx) -> Result<std::vector<OrgIdBlock>> {
    ASSIGN_OR_RETURN(const std::vector<IdBlockRow> rows, all_id_blocks(tx));
    std::vector<OrgIdBlock> blocks;
    for (const IdBlockRow& row : rows) {
      if (row.org == org) blocks.push_back({row.ids, row.ids.last + 1 - row.next});
    }
    return blocks;
  });
}

Result<void> Directory::add_id_block(const Actor& actor, OrgN org, posix::IdBlock ids) {
  RETURN_IF_ERROR(check_operator(actor));
  return impl_->db.write([this, &actor, org, ids](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const Org home, load_org(tx, org));
    RETURN_IF_ERROR(roster::directory::add_id_block(tx, org, ids));
    JournalEntry entry = journal_entry(actor, org, impl_->now(), "org.ids.add", "org/" + home.slug);
    Diff diff;
    diff.set("ids", nullptr, json::value(posix::format_block(ids)));
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    return {};
  });
}

Result<void> Directory::close_id_block(const Actor& actor, OrgN org, posix::IdBlock ids) {
  RETURN_IF_ERROR(check_operator(actor));
  return impl_->db.write([this, &actor, org, ids](Tx& tx) -> Result<void> {
    ASSIGN_OR_RETURN(const Org home, load_org(tx, org));
    RETURN_IF_ERROR(roster::directory::close_id_block(tx, org, ids));
    JournalEntry entry =
        journal_entry(actor, org, impl_->now(), "org.ids.close", "org/" + home.slug);
    Diff diff;
    diff.set("ids", json::value(posix::format_block(ids)), nullptr);
    entry.diff = diff.text();
    impl_->journal->add(std::move(entry));
    return {};
  });
}

Result<Org> Directory::new_epoch(OrgN org, std::uint32_t highest_id) {
  return impl_->db.write([this, org, highest_id](Tx& tx) -> Result<Org> {
    ASSIGN_OR_RETURN(const Org current, load_org(tx, org));
    const std::string epoch = new_epoch_text(impl_->options.random);
    RETURN_IF_ERROR(tx.execute(kSetEpoch, org, epoch));
    RETURN_IF_ERROR(roster::directory::lift_ids(tx, org, highest_id));
    Actor hub;
    hub.name = "hub";
    JournalEntry entry =
        journal_entry(hub, org, impl_->now(), "org.new_epoch", "org/" + current.slug);
    Diff diff;
    diff.set("epoch", json::value(current.epoch), json::value(epoch));
    diff.set("highest_id", nullptr, highest_id);
    entry.diff = diff.text();
    entry.wakes = true;
    impl_->journal->add(std::move(entry));
    return load_org(tx, org);
  });
}

void Directory::hold_ids(OrgN org, std::chrono::milliseconds time) {
  impl_->holds.hold(org, impl_->options.monotonic() + time);
}

void Directory::allow_ids(OrgN org) { impl_->holds.allow(org); }

bool Directory::ids_are_held(OrgN org) const { return impl_->ids_are_held(org); }

Result<bool> Directory::lift_ids(OrgN org, std::uint32_t highest_id) {
  // Whoever has a node's credential may ask, so what changes nothing costs no write.
  ASSIGN_OR_RETURN(const LiftNeed need, impl_->db.read([org, highest_id](Tx& tx) {
    return judge_highest_id(tx, org, highest_id);
  }));
  if (need != LiftNeed::kLift) return need == LiftNeed::kNone;
  return impl_->db.write(
      [org, highest_id](Tx& tx) { return roster::directory::lift_ids(tx, org, highest_id); });
}

Result<bool> Directory::is_imported(OrgN org, std::uint32_t id) {
  return impl_->db.read([org, id](Tx& tx) -> Result<bool> {
    ASSIGN_OR_RETURN(const Org current, load_org(tx, org));
    return roster::directory::is_imported(tx, org, current.settings.admitted_ids, id);
  });
}

Result<bool> Directory::pass_over_ids(OrgN org, std::uint32_t imported) {
  return impl_->db.write([org, imported](Tx& tx) -> Result<bool> {
    ASSIGN_OR_RETURN(const Org current, load_org(tx, org));
    ASSIGN_OR_RETURN(const bool is_one, roster::directory::is_imported(
                                            tx, org, current.settings.admitted_ids, imported));
    if (is_one) RETURN_IF_ERROR(fill_id_blocks_below(tx, org, imported));
    return is_one;
  });
}

Result<Client> Directory::create_client(const Actor& actor, OrgN org, std::string_view name) {
  RETURN_IF_ERROR(authorize(actor, org));
  RETURN_IF_ERROR(check_label("client", name));
  if (name == kManualSource) {
    return fail(Code::kInvalidArgument, "client: this name stands for what people entered");
  }
  return impl_->db.write([this, &actor, org, name](Tx& tx) -> Result<Client> {
    const Timestamp now = impl_->now();
    RETURN_IF_ERROR(load_org(tx, org));
    ASSIGN_OR_RETURN(const std::optional<std::int64_t> n,
                     tx.query_one(kInsertClient, integer_column, org, name, to_millis(now)));
    if (!n) {
      return fail(Code::kAlreadyExists, "the client " + std::string(name) + " exists already",
                  "uniqueness");
    }
    impl_->journal->add(
        journal_entry(actor, org, now, "client.create", "client/" + std::string(name)));
    return Client{*n, org, std::string(name)};
  });
}

Result<std::vector<Client>> Directory::list_clients(OrgN org) {
  return impl_->db.read([org](Tx& tx) -> Result<std::vector<Client>> {
    std::vector<Client> clients;
    RETURN_IF_ERROR(tx.query(
        kListClients,
        [&clients](const Row& row) -> Result<void> {
          clients.push_back({row.integer(0), row.integer(1), std::string(row.text(2))});
          return {};
        },
        org));
    return clients;
  });
}

}  // namespace roster::directory
