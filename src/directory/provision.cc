#include <utility>

#include "directory/external_ids.h"
#include "directory/group_rows.h"
#include "directory/identity.h"
#include "directory/impl.h"
#include "directory/schema.h"
#include "directory/user_rows.h"
#include "posix/home.h"

namespace roster::directory {
namespace {

using store::Tx;

/// Everyone waits while one write holds the writer's thread.
constexpr std::size_t kAtOnceMax = 100;

struct Provision {
  Directory::Impl& impl;
  Tx& tx;
  OrgN org;
  const Rules& rules;
  Timestamp now;

  Result<IdentityRequest> request(int kind, std::int64_t n, ClientN owner,
                                  std::optional<std::string>& external) const {
    ASSIGN_OR_RETURN(external, external_id(tx, kind, owner, n));
    return IdentityRequest{.org = org,
                           .kind = kind,
                           .wanted = {},
                           .key = {},
                           .external_id = external,
                           .client = owner,
                           .active = true,
                           .home = std::nullopt,
                           .numbers_held = impl.ids_are_held(org),
                           .now = now};
  }

  Result<void> user(const UserRecord& record) const {
    const User& user = record.user;
    std::optional<std::string> external;
    ASSIGN_OR_RETURN(IdentityRequest wish, request(row::kUser, user.n, record.owner, external));
    const std::string wanted = wanted_login(user.doc, external, rules.settings);
    wish.wanted = wanted;
    wish.key = record.user_name_key;
    wish.active = user.active;
    // Stored when it was asked for; whether it is allowed is judged now.
    std::optional<std::string> home;
    if (const auto asked = asked_home(user.doc)) {
      if (auto parsed = posix::parse_home(*asked, rules.home_prefixes)) home = std::move(*parsed);
    }
    wish.home = home;
    ASSIGN_OR_RETURN(const Identity identity,
                     fill_identity(tx, rules, wish, static_cast<std::uint64_t>(user.n)));
    RETURN_IF_ERROR(bump_user(tx, user.n, now));
    note({row::kUserChanged, user.n, 0}, "user.provision", "user/" + user.id, identity);
    return {};
  }

  Result<void> group(const GroupRecord& record) const {
    const Group& group = record.group;
    std::optional<std::string> external;
    ASSIGN_OR_RETURN(IdentityRequest wish, request(row::kGroup, group.n, record.owner, external));
    wish.wanted = json::find_string(group.doc, "displayName").value_or("");
    wish.key = record.name_key;
    ASSIGN_OR_RETURN(const Identity identity,
                     fill_identity(tx, rules, wish, static_cast<std::uint64_t>(group.n)));
    RETURN_IF_ERROR(bump_group(tx, group.n, now));
    note({row::kGroupChanged, group.n, 0}, "group.provision", "group/" + group.id, identity);
    return {};
  }

  void note(ChangeRow change, std::string_view action, std::string target,
            const Identity& identity) const {
    Actor hub;
    hub.name = "hub";
    JournalEntry entry = journal_entry(hub, org, now, action, std::move(target));
    Diff diff;
    diff.set("posix", nullptr, posix_json(identity.posix));
    entry.diff = diff.text();
    entry.changes = {change};
    impl.journal->add(std::move(entry));
  }
};

}  // namespace

Result<std::size_t> Directory::provision(OrgN org) {
  const auto waiting = [this, org](Tx& tx) -> Result<std::vector<BareIdentity>> {
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    if (!rules->settings.user_provisioning) return std::vector<BareIdentity>{};
    return bare_identities(tx, org, kAtOnceMax);
  };
  ASSIGN_OR_RETURN(const std::vector<BareIdentity> preview, impl_->db.read(waiting));
  if (preview.empty()) return 0;
  return impl_->db.write([this, org, &waiting](Tx& tx) -> Result<std::size_t> {
    ASSIGN_OR_RETURN(const std::vector<BareIdentity> found, waiting(tx));
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    const Provision provision{*impl_, tx, org, *rules, impl_->now()};
    std::vector<std::int64_t> users;
    std::vector<std::int64_t> groups;
    for (const BareIdentity& bare : found) {
      (bare.kind == row::kUser ? users : groups).push_back(bare.n);
    }
    ASSIGN_OR_RETURN(const std::vector<UserRecord> people, users_by_number(tx, org, users));
    for (const UserRecord& record : people) RETURN_IF_ERROR(provision.user(record));
    ASSIGN_OR_RETURN(const std::vector<GroupRecord> sets, groups_by_number(tx, org, groups));
    for (const GroupRecord& record : sets) RETURN_IF_ERROR(provision.group(record));
    return people.size() + sets.size();
  });
}

}  // namespace roster::directory
