#include <algorithm>
#include <utility>

#include "base/unicode.h"
#include "directory/external_ids.h"
#include "directory/identity.h"
#include "directory/impl.h"
#include "directory/keys.h"
#include "directory/schema.h"
#include "directory/tokens.h"
#include "directory/user_rows.h"

namespace roster::directory {
namespace {

using store::Row;
using store::Statement;
using store::Tx;

constexpr Statement kInsertUser{
    "user.insert",
    "INSERT INTO usr (n, org, id, user_name, user_name_key, active, owner_client, version, "
    "created, modified, gecos, shell, doc) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8, $9, $10, $11) "
    "ON CONFLICT (org, user_name_key) DO NOTHING"};
constexpr Statement kUserWithKey{"user.with_key",
                                 "SELECT n FROM usr WHERE org = $1 AND user_name_key = $2"};
constexpr Statement kUpdateUser{
    "user.update",
    "UPDATE usr SET user_name = $2, user_name_key = $3, active = $4, version = version + 1, "
    "modified = $5, gecos = $6, shell = $7, doc = $8 WHERE n = $1"};
constexpr Statement kAdoptUser{"user.adopt", "UPDATE usr SET owner_client = $2 WHERE n = $1"};
constexpr Statement kIdOfUser{"user.id_of", "SELECT id FROM usr WHERE n = $1"};
constexpr Statement kSetValidUntil{
    "user.set_valid_until",
    "UPDATE usr SET valid_until = $2, version = version + 1, modified = $3 WHERE n = $1"};
constexpr Statement kLastEnd{"user.last_end",
                             "SELECT MAX(valid_until) FROM usr WHERE org = $1 AND "
                             "valid_until IS NOT NULL AND valid_until <= $2"};
constexpr Statement kLastKeyBegin{
    "key.last_begin",
    "SELECT MAX(not_before) FROM ssh_key WHERE not_before IS NOT NULL AND not_before <= $1"};
constexpr Statement kLastKeyEnd{
    "key.last_end",
    "SELECT MAX(not_after) FROM ssh_key WHERE not_after IS NOT NULL AND not_after <= $1"};
constexpr Statement kDeleteUser{"user.delete", "DELETE FROM usr WHERE n = $1"};
constexpr Statement kLeaveGroups{
    "user.leave_groups",
    "UPDATE grp SET member_count = member_count - 1, version = version + 1, modified = $2 "
    "WHERE n IN (SELECT group_n FROM member WHERE member_n = $1 AND kind = 1)"};
constexpr Statement kDeleteMemberships{"user.delete_memberships",
                                       "DELETE FROM member WHERE member_n = $1 AND kind = 1"};
constexpr Statement kClientName{"client.name", "SELECT name FROM client WHERE n = $1"};

std::unexpected<Error> user_name_taken() {
  return fail(Code::kAlreadyExists, "userName: another user has it", "uniqueness");
}

Result<std::string> source_name(Tx& tx, const Actor& actor) {
  if (!actor.client) return std::string(kManualSource);
  ASSIGN_OR_RETURN(std::optional<std::string> name,
                   tx.query_one(kClientName, text_column, *actor.client));
  if (!name) return fail(Code::kNotFound, "the token's client is gone");
  return std::move(*name);
}

std::string user_target(const User& user) { return "user/" + user.id; }

json::value or_null(const std::optional<std::string>& text) {
  return text ? json::value(*text) : json::value(nullptr);
}

json::value or_null(const std::optional<Timestamp>& t) {
  return t ? json::value(format_rfc3339(*t)) : json::value(nullptr);
}

Result<void> check_version(const User& user, const IfVersion& if_version) {
  if (if_version.holds(user.version)) return {};
  return fail(Code::kVersionMismatch,
              "the user has version " + std::to_string(user.version) + " by now");
}

/// The difference between a user and what a write wants.
struct UserPlan {
  UserColumns next;
  std::optional<std::optional<std::string>> external_id;  // when it changes
  KeyPlan keys;
  bool doc_changes = false;
  bool activates = false;
  bool deactivates = false;

  bool empty() const { return !doc_changes && !external_id && keys.empty(); }
  /// Takes access away and gives none.
  bool revokes() const {
    return deactivates || (!keys.remove.empty() && keys.add.empty() && !activates);
  }
};

Result<UserPlan> plan_update(Tx& tx, const Rules& rules, const Actor& actor,
                             const UserRecord& current, UserInput input) {
  UserPlan plan;
  if (input.external_id) {
    RETURN_IF_ERROR(check_external_id(*input.external_id));
    if (*input.external_id != current.user.external_id) plan.external_id = *input.external_id;
  }
  ASSIGN_OR_RETURN(plan.next, user_columns(std::move(input.doc), &current.user.doc, rules));
  plan.doc_changes = plan.next.doc_text != current.doc_text;
  plan.activates = plan.next.active && !current.user.active;
  plan.deactivates = !plan.next.active && current.user.active;
  if (input.keys) {
    ASSIGN_OR_RETURN(const std::string source, source_name(tx, actor));
    ASSIGN_OR_RETURN(plan.keys, plan_keys(current.user.keys, source, *input.keys));
  }
  take_away(current.user.keys, input.removed_keys, plan.keys);
  return plan;
}

Result<UserRecord> load_current(Tx& tx, const Actor& actor, OrgN org, std::string_view id) {
  ASSIGN_OR_RETURN(UserRecord record, user_by_id(tx, org, id));
  RETURN_IF_ERROR(load_user_parts(tx, actor, {&record, 1}, {.keys = true}));
  return record;
}

/// A change of the document: the user's columns, the home, and whether the identity is locked.
Result<void> apply_columns(Tx& tx, const Rules& rules, const UserRecord& current,
                           const UserPlan& plan, OrgN org, Timestamp now) {
  const UserColumns& next = plan.next;
  const std::int64_t n = current.user.n;
  if (next.user_name_key != current.user_name_key) {
    ASSIGN_OR_RETURN(const auto taken,
                     tx.query_one(kUserWithKey, integer_column, org, next.user_name_key));
    if (taken) return user_name_taken();
  }
  RETURN_IF_ERROR(tx.execute(kUpdateUser, n, next.user_name, next.user_name_key,
                             next.active ? 1 : 0, to_millis(now), next.gecos, next.shell,
                             next.doc_text));
  if (plan.deactivates) RETURN_IF_ERROR(lock_identity(tx, current.user.n, now));
  if (plan.activates) RETURN_IF_ERROR(unlock_identity(tx, current.user.n));
  if (!current.user.posix) return {};
  const PosixIdentity& identity = *current.user.posix;
  if (next.home_changes && next.home) {
    RETURN_IF_ERROR(set_home(tx, org, identity.n, *next.home, now));
  } else if (next.home_changes) {
    ASSIGN_OR_RETURN(const std::string home,
                     default_home(tx, org, rules, identity.n, identity.name, identity.number));
    RETURN_IF_ERROR(set_home(tx, org, identity.n, home, now));
  }
  return {};
}

std::string_view action_of(const UserPlan& plan) {
  if (plan.deactivates) return "user.deactivate";
  if (plan.activates) return "user.reactivate";
  return "user.update";
}

/// What a new user's columns are, and by which rules.
struct Prepared {
  std::shared_ptr<const Rules> rules;
  UserColumns columns;
};

Result<Prepared> prepare(RulesCache& cache, Tx& tx, OrgN org, const json::object& doc) {
  Prepared prepared;
  ASSIGN_OR_RETURN(prepared.rules, cache.get(tx, org));
  ASSIGN_OR_RETURN(prepared.columns, user_columns(doc, nullptr, *prepared.rules));
  return prepared;
}

/// What reading the row back would give.
User new_user(const UserColumns& columns, NewIdentity identity, std::string id, Timestamp now) {
  User user;
  user.n = identity.n;
  user.id = std::move(id);
  user.doc = columns.doc;
  user.active = columns.active;
  user.created = now;
  user.modified = now;
  user.posix = std::move(identity.posix);
  user.home = std::move(identity.home);
  user.shell = columns.shell.value_or(identity.shell);
  return user;
}

std::vector<SshKeyRow> new_keys(const KeyPlan& plan, const std::string& source, Timestamp now) {
  std::vector<SshKeyRow> rows;
  for (const KeyInput& key : plan.add) {
    rows.push_back(
        {key.fingerprint, key.line, key.name, source, now, key.not_before, key.not_after});
  }
  std::ranges::sort(rows, {}, &SshKeyRow::fingerprint);
  return rows;
}

JournalEntry creation_entry(const Actor& actor, OrgN org, const User& user, Timestamp now) {
  JournalEntry entry = journal_entry(actor, org, now, "user.create", user_target(user));
  Diff diff;
  diff.compare({}, user.doc);
  if (user.posix) diff.set("posix", nullptr, posix_json(*user.posix));
  if (user.external_id) diff.set("externalId", nullptr, json::value(*user.external_id));
  std::vector<std::string> fingerprints;
  for (const SshKeyRow& key : user.keys) fingerprints.push_back(key.fingerprint);
  diff.sets("keys", fingerprints, {});
  entry.diff = diff.text();
  entry.changes = {{row::kUserChanged, user.n, 0}};
  entry.users = 1;
  entry.active_users = user.active ? 1 : 0;
  return entry;
}

}  // namespace

Result<User> Directory::create_user(const Actor& actor, OrgN org, const UserInput& input) {
  RETURN_IF_ERROR(authorize(actor, org));
  const std::optional<std::string> external = input.external_id.value_or(std::nullopt);
  RETURN_IF_ERROR(check_external_id(external));
  // Here and not inside the write, behind which all others wait; good unless the rules change
  // meanwhile.
  ASSIGN_OR_RETURN(const Prepared prepared, impl_->db.read([this, org, &input](Tx& tx) {
    return prepare(impl_->rules, tx, org, input.doc);
  }));
  return impl_->db.write([this, &actor, org, &input, &external, &prepared](Tx& tx) -> Result<User> {
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    Prepared again;
    if (rules != prepared.rules) {
      ASSIGN_OR_RETURN(again, prepare(impl_->rules, tx, org, input.doc));
    }
    const UserColumns& columns = again.rules ? again.columns : prepared.columns;
    ASSIGN_OR_RETURN(const auto taken,
                     tx.query_one(kUserWithKey, integer_column, org, columns.user_name_key));
    if (taken) return user_name_taken();
    const ClientN client = actor.client.value_or(row::kNoClient);
    ASSIGN_OR_RETURN(const std::string source, source_name(tx, actor));
    ASSIGN_OR_RETURN(const KeyPlan keys,
                     plan_keys({}, source, input.keys.value_or(std::vector<KeyInput>{})));
    const std::string id = impl_->uuids.next();
    const std::string wanted = wanted_login(columns.doc, external, rules->settings);
    ASSIGN_OR_RETURN(NewIdentity identity, identity_for(tx, *rules,
                                                        {.org = org,
                                                         .kind = row::kUser,
                                                         .wanted = wanted,
                                                         .key = columns.user_name_key,
                                                         .pushed = columns.user_name,
                                                         .external_id = external,
                                                         .client = client,
                                                         .active = columns.active,
                                                         .home = columns.home,
                                                         .numbers_held = impl_->ids_are_held(org),
                                                         .now = now},
                                                        id));
    const UserN n = identity.n;
    RETURN_IF_ERROR(tx.execute(kInsertUser, n, org, id, columns.user_name, columns.user_name_key,
                               columns.active ? 1 : 0, client, to_millis(now), columns.gecos,
                               columns.shell, columns.doc_text));
    if (external) RETURN_IF_ERROR(set_external_id(tx, row::kUser, client, n, external));
    RETURN_IF_ERROR(insert_keys(tx, n, client, keys.add, now));
    User user = new_user(columns, std::move(identity), id, now);
    if (actor.client) user.owner = source;
    user.external_id = external;
    user.keys = new_keys(keys, source, now);
    impl_->journal->add(creation_entry(actor, org, user, now));
    return user;
  });
}

Result<User> Directory::get_user(const Actor& actor, OrgN org, std::string_view id, Load load) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.read([&actor, org, id, load](Tx& tx) -> Result<User> {
    ASSIGN_OR_RETURN(UserRecord record, user_by_id(tx, org, id));
    RETURN_IF_ERROR(load_user_parts(tx, actor, {&record, 1}, load));
    return std::move(record.user);
  });
}

Result<User> Directory::update_user(const Actor& actor, OrgN org, std::string_view id,
                                    const IfVersion& if_version, const UserEdit& edit) {
  RETURN_IF_ERROR(authorize(actor, org));
  struct Planned {
    UserRecord current;
    std::shared_ptr<const Rules> rules;
    UserPlan plan;
  };
  const auto make_plan = [this, &actor, org, id, &if_version, &edit](Tx& tx) -> Result<Planned> {
    Planned planned;
    ASSIGN_OR_RETURN(planned.current, load_current(tx, actor, org, id));
    RETURN_IF_ERROR(check_version(planned.current.user, if_version));
    RETURN_IF_ERROR(check_owner(actor, planned.current.owner));
    ASSIGN_OR_RETURN(planned.rules, impl_->rules.get(tx, org));
    ASSIGN_OR_RETURN(UserInput input, edit(planned.current.user));
    ASSIGN_OR_RETURN(planned.plan,
                     plan_update(tx, *planned.rules, actor, planned.current, std::move(input)));
    return planned;
  };
  // First on a reader: most repetitions of an identity provider change nothing and end here, and
  // what takes access away must be known as such before it waits in the writer's queue.
  ASSIGN_OR_RETURN(Planned preview, impl_->db.read(make_plan));
  if (preview.plan.empty()) return std::move(preview.current.user);

  bool had_tokens = false;
  auto updated = impl_->db.write(
      [this, &actor, org, &make_plan, &had_tokens](Tx& tx) -> Result<User> {
        ASSIGN_OR_RETURN(Planned planned, make_plan(tx));
        const UserPlan& plan = planned.plan;
        User& user = planned.current.user;
        if (plan.empty()) return std::move(user);
        const Timestamp now = impl_->now();
        if (plan.doc_changes) {
          RETURN_IF_ERROR(apply_columns(tx, *planned.rules, planned.current, plan, org, now));
        } else {
          RETURN_IF_ERROR(bump_user(tx, user.n, now));
        }
        if (planned.current.owner == row::kNoClient && actor.client) {
          RETURN_IF_ERROR(tx.execute(kAdoptUser, user.n, *actor.client));
        }
        if (plan.external_id) {
          RETURN_IF_ERROR(set_external_id(tx, row::kUser,
                                          acting_client(actor, planned.current.owner), user.n,
                                          *plan.external_id));
        }
        RETURN_IF_ERROR(
            apply_keys(tx, user.n, actor.client.value_or(row::kNoClient), plan.keys, now));
        if (plan.deactivates) {
          ASSIGN_OR_RETURN(had_tokens, revoke_user_tokens(tx, user.n, now));
        }

        JournalEntry entry = journal_entry(actor, org, now, action_of(plan), user_target(user));
        Diff diff;
        diff.compare(user.doc, plan.next.doc);
        if (plan.external_id) {
          diff.set("externalId", or_null(user.external_id), or_null(*plan.external_id));
        }
        diff.sets("keys", plan.keys.put(), plan.keys.remove);
        entry.diff = diff.text();
        entry.changes = {{row::kUserChanged, user.n, 0}};
        entry.active_users = plan.activates ? 1 : plan.deactivates ? -1 : 0;
        impl_->journal->add(std::move(entry));
        ASSIGN_OR_RETURN(UserRecord record, load_current(tx, actor, org, user.id));
        return std::move(record.user);
      },
      preview.plan.revokes() ? store::Urgency::kRevocation : store::Urgency::kNormal);
  if (had_tokens) impl_->tokens.clear();
  return updated;
}

Result<void> Directory::delete_user(const Actor& actor, OrgN org, std::string_view id,
                                    const IfVersion& if_version) {
  RETURN_IF_ERROR(authorize(actor, org));
  bool had_tokens = false;
  const auto deleted = impl_->db.write(
      [this, &actor, org, id, &if_version, &had_tokens](Tx& tx) -> Result<void> {
        const Timestamp now = impl_->now();
        ASSIGN_OR_RETURN(const UserRecord current, user_by_id(tx, org, id));
        const User& user = current.user;
        RETURN_IF_ERROR(check_version(user, if_version));
        RETURN_IF_ERROR(check_owner(actor, current.owner));
        const ClientN client = acting_client(actor, current.owner);
        ASSIGN_OR_RETURN(const std::optional<std::string> external,
                         external_id(tx, row::kUser, client, user.n));
        RETURN_IF_ERROR(tx.execute(kLeaveGroups, user.n, to_millis(now)));
        RETURN_IF_ERROR(tx.execute(kDeleteMemberships, user.n));
        RETURN_IF_ERROR(remove_all_keys(tx, user.n));
        RETURN_IF_ERROR(remove_external_ids(tx, org, row::kUser, user.n));
        ASSIGN_OR_RETURN(had_tokens, revoke_user_tokens(tx, user.n, now));
        RETURN_IF_ERROR(tx.execute(kDeleteUser, user.n));
        RETURN_IF_ERROR(bury_identity(
            tx, user.n, {user.id, current.user_name_key, client, external}, user.active, now));
        JournalEntry entry = journal_entry(actor, org, now, "user.delete", user_target(user));
        Diff diff;
        diff.compare(user.doc, {});
        entry.diff = diff.text();
        entry.changes = {{row::kUserChanged, user.n, 0}};
        entry.users = -1;
        entry.active_users = user.active ? -1 : 0;
        impl_->journal->add(std::move(entry));
        return {};
      },
      store::Urgency::kRevocation);
  if (had_tokens) impl_->tokens.clear();
  return deleted;
}

Result<User> Directory::find_user(OrgN org, std::string_view name_or_id, Load load) {
  return impl_->db.read([org, name_or_id, load](Tx& tx) -> Result<User> {
    std::optional<UserRecord> found;
    // First, so that nobody can call himself by another's id.
    if (is_uuid(name_or_id)) {
      auto by_id = user_by_id(tx, org, name_or_id);
      if (by_id) found = std::move(*by_id);
      if (!by_id && by_id.error().code != Code::kNotFound) return std::unexpected(by_id.error());
    }
    if (!found) {
      ASSIGN_OR_RETURN(found, user_by_login(tx, org, name_or_id));
    }
    if (!found) {
      const auto key = case_key(name_or_id);
      if (key) {
        ASSIGN_OR_RETURN(found, user_by_key(tx, org, *key));
      }
    }
    if (!found) return fail(Code::kNotFound, "there is no user with this login, userName or id");
    RETURN_IF_ERROR(load_user_parts(tx, Actor{}, {&*found, 1}, load));
    return std::move(found->user);
  });
}

Result<std::string> Directory::own_id(const Actor& actor) {
  if (!actor.user) return fail(Code::kNotFound, "this token is no person's");
  return impl_->db.read([&actor](Tx& tx) -> Result<std::string> {
    ASSIGN_OR_RETURN(
        auto id,
        tx.query_one(
            kIdOfUser, [](const Row& row) { return std::string(row.text(0)); }, *actor.user));
    if (!id) return fail(Code::kNotFound, "there is no such user");
    return std::move(*id);
  });
}

Result<User> Directory::set_user_active(const Actor& actor, OrgN org, std::string_view id,
                                        bool active) {
  return update_user(actor, org, id, {}, [active](const User& current) {
    UserInput input;
    input.doc = current.doc;
    input.doc["active"] = active;
    return Result<UserInput>(std::move(input));
  });
}

Result<User> Directory::rename_user(const Actor& actor, OrgN org, std::string_view id,
                                    const posix::LoginName& login) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org, id, &login](Tx& tx) -> Result<User> {
    ASSIGN_OR_RETURN(UserRecord current, load_current(tx, actor, org, id));
    const User& user = current.user;
    if (!user.posix) return not_provisioned("user");
    if (user.posix->name == login.str()) return std::move(current.user);
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(const auto rules, impl_->rules.get(tx, org));
    RETURN_IF_ERROR(rename_identity(tx, org, *rules, *user.posix, login.str(), now));
    RETURN_IF_ERROR(bump_user(tx, user.n, now));
    JournalEntry entry = journal_entry(actor, org, now, "user.rename", user_target(user));
    Diff diff;
    diff.set("posix.name", json::value(user.posix->name), json::value(login.str()));
    entry.diff = diff.text();
    entry.changes = {{row::kUserChanged, user.n, 0}};
    impl_->journal->add(std::move(entry));
    ASSIGN_OR_RETURN(UserRecord renamed, load_current(tx, actor, org, id));
    return std::move(renamed.user);
  });
}

Result<User> Directory::set_valid_until(const Actor& actor, OrgN org, std::string_view id,
                                        std::optional<Timestamp> valid_until) {
  RETURN_IF_ERROR(authorize(actor, org));
  const auto write = [this, &actor, org, id, valid_until](Tx& tx) -> Result<User> {
    ASSIGN_OR_RETURN(UserRecord current, load_current(tx, actor, org, id));
    const User& user = current.user;
    if (user.valid_until == valid_until) return std::move(current.user);
    const Timestamp now = impl_->now();
    RETURN_IF_ERROR(
        tx.execute(kSetValidUntil, user.n, millis_or_null(valid_until), to_millis(now)));
    JournalEntry entry = journal_entry(actor, org, now, "user.valid_until", user_target(user));
    Diff diff;
    diff.set("validUntil", or_null(user.valid_until), or_null(valid_until));
    entry.diff = diff.text();
    entry.changes = {{row::kUserChanged, user.n, 0}};
    impl_->journal->add(std::move(entry));
    ASSIGN_OR_RETURN(UserRecord changed, load_current(tx, actor, org, id));
    return std::move(changed.user);
  };
  return impl_->db.write(write,
                         valid_until ? store::Urgency::kRevocation : store::Urgency::kNormal);
}

Result<std::optional<Timestamp>> Directory::last_moment(OrgN org, Timestamp now) {
  return impl_->db.read([org, now](Tx& tx) -> Result<std::optional<Timestamp>> {
    const auto moment = [](const Row& row) { return time_or_null(row, 0); };
    const std::int64_t ms = to_millis(now);
    ASSIGN_OR_RETURN(const auto ended, tx.query_one(kLastEnd, moment, org, ms));
    ASSIGN_OR_RETURN(const auto key_began, tx.query_one(kLastKeyBegin, moment, ms));
    ASSIGN_OR_RETURN(const auto key_ended, tx.query_one(kLastKeyEnd, moment, ms));
    std::optional<Timestamp> last;
    for (const auto& each : {ended, key_began, key_ended}) {
      if (each && *each) last = std::max(last, *each);
    }
    return last;
  });
}

Result<User> Directory::add_keys(const Actor& actor, OrgN org, std::string_view id,
                                 const std::vector<KeyInput>& keys) {
  return change_keys(actor, org, id, store::Urgency::kNormal,
                     [&actor, &keys](Tx& tx, const User& user) -> Result<KeyPlan> {
                       ASSIGN_OR_RETURN(const std::string source, source_name(tx, actor));
                       return plan_added_keys(user.keys, source, keys);
                     });
}

namespace {

Result<const SshKeyRow*> find_key(const User& user, std::string_view fingerprint) {
  const auto found = std::ranges::find(user.keys, fingerprint, &SshKeyRow::fingerprint);
  if (found != user.keys.end()) return &*found;
  return fail(Code::kNotFound, "the user has no key with this fingerprint");
}

}  // namespace

Result<User> Directory::update_key(const Actor& actor, OrgN org, std::string_view id,
                                   std::string_view fingerprint, const KeyEdit& edit) {
  const bool ends = edit.not_after && *edit.not_after;
  return change_keys(actor, org, id, ends ? store::Urgency::kRevocation : store::Urgency::kNormal,
                     [fingerprint, &edit](Tx&, const User& user) -> Result<KeyPlan> {
                       ASSIGN_OR_RETURN(const SshKeyRow* key, find_key(user, fingerprint));
                       const KeyInput before{key->key, key->fingerprint, key->name, key->not_before,
                                             key->not_after};
                       KeyInput after = before;
                       after.name = edit.name.value_or(before.name);
                       after.not_before = edit.not_before.value_or(before.not_before);
                       after.not_after = edit.not_after.value_or(before.not_after);
                       KeyPlan plan;
                       plan.by_administrator = true;
                       if (after != before) plan.add.push_back(std::move(after));
                       return plan;
                     });
}

Result<User> Directory::remove_key(const Actor& actor, OrgN org, std::string_view id,
                                   std::string_view fingerprint) {
  return change_keys(actor, org, id, store::Urgency::kRevocation,
                     [fingerprint](Tx&, const User& user) -> Result<KeyPlan> {
                       RETURN_IF_ERROR(find_key(user, fingerprint));
                       KeyPlan plan;
                       plan.by_administrator = true;
                       plan.remove.emplace_back(fingerprint);
                       return plan;
                     });
}

Result<User> Directory::change_keys(
    const Actor& actor, OrgN org, std::string_view id, store::Urgency urgency,
    const std::function<Result<KeyPlan>(Tx&, const User&)>& make_plan) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write(
      [this, &actor, org, id, &make_plan](Tx& tx) -> Result<User> {
        ASSIGN_OR_RETURN(UserRecord current, load_current(tx, actor, org, id));
        const User& user = current.user;
        ASSIGN_OR_RETURN(const KeyPlan plan, make_plan(tx, user));
        if (plan.empty()) return std::move(current.user);
        const Timestamp now = impl_->now();
        RETURN_IF_ERROR(apply_keys(tx, user.n, actor.client.value_or(row::kNoClient), plan, now));
        RETURN_IF_ERROR(bump_user(tx, user.n, now));
        JournalEntry entry = journal_entry(actor, org, now, "user.keys", user_target(user));
        Diff diff;
        diff.sets("keys", plan.put(), plan.remove);
        entry.diff = diff.text();
        entry.changes = {{row::kUserChanged, user.n, 0}};
        impl_->journal->add(std::move(entry));
        ASSIGN_OR_RETURN(UserRecord changed, load_current(tx, actor, org, id));
        return std::move(changed.user);
      },
      urgency);
}

}  // namespace roster::directory
