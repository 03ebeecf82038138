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

/// Everyone waits while one write is under way.
constexpr std::size_t kAtOnceMax = 100;

/// An error of one person's or group's own: others need not wait for it to be mended.
bool concerns_one(Code code) {
  return code == Code::kDataLoss || code == Code::kFailedPrecondition ||
         code == Code::kInvalidArgument;
}

class Provision {
 public:
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
                           .pushed = {},
                           .external_id = external,
                           .client = owner,
                           .active = true,
                           .home = std::nullopt,
                           .numbers_held = impl.ids_are_held(org),
                           .now = now};
  }

  Result<void> one(const BareIdentity& bare) const {
    const std::int64_t numbers[] = {bare.n};
    if (bare.kind == row::kUser) {
      ASSIGN_OR_RETURN(const std::vector<UserRecord> users, users_by_number(tx, org, numbers));
      return users.empty() ? Result<void>() : user(users.front());
    }
    ASSIGN_OR_RETURN(const std::vector<GroupRecord> groups, groups_by_number(tx, org, numbers));
    return groups.empty() ? Result<void>() : group(groups.front());
  }

 private:
  Result<void> user(const UserRecord& record) const {
    const User& user = record.user;
    std::optional<std::string> external;
    ASSIGN_OR_RETURN(IdentityRequest wish, request(row::kUser, user.n, record.owner, external));
    const std::string wanted = wanted_login(user.doc, external, rules.settings);
    wish.wanted = wanted;
    wish.key = record.user_name_key;
    wish.pushed = json::find_string(user.doc, "userName").value_or("");
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
    wish.pushed = wish.wanted;
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

Result<Directory::Provisioned> Directory::provision(OrgN org, std::int64_t after) {
  const auto waiting = [this, org, after](Tx& tx) -> Result<std::vector<BareIdentity>> {
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    if (!rules->settings.user_provisioning) return std::vector<BareIdentity>{};
    return bare_identities(tx, org, after, kAtOnceMax);
  };
  ASSIGN_OR_RETURN(const std::vector<BareIdentity> preview, impl_->db.read(waiting));
  if (preview.empty()) return Provisioned{};
  return impl_->db.write([this, org, &waiting](Tx& tx) -> Result<Provisioned> {
    ASSIGN_OR_RETURN(const std::vector<BareIdentity> found, waiting(tx));
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    const Provision provision{*impl_, tx, org, *rules, impl_->now()};
    Provisioned done;
    for (const BareIdentity& bare : found) {
      const Result<void> given = provision.one(bare);
      if (!given && !concerns_one(given.error().code)) return std::unexpected(given.error());
      done.last = bare.n;
      ++(given ? done.given : done.refused);
      if (!given) done.reason = given.error().message;
    }
    return done;
  });
}

}  // namespace roster::directory
