#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "base/unicode.h"
#include "directory/candidates.h"
#include "directory/external_ids.h"
#include "directory/group_rows.h"
#include "directory/identity.h"
#include "directory/impl.h"
#include "directory/member_edit.h"
#include "directory/schema.h"
#include "directory/scope.h"

namespace roster::directory {
namespace {

using store::Statement;
using store::Tx;

constexpr Statement kInsertGroup{
    "group.insert",
    "INSERT INTO grp (n, org, id, display_name, name_key, owner_client, member_count, version, "
    "created, modified, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8, $9)"};
constexpr Statement kGroupWithKey{"group.with_key",
                                  "SELECT n FROM grp WHERE org = $1 AND name_key = $2"};
constexpr Statement kUpdateGroup{
    "group.update",
    "UPDATE grp SET display_name = $2, name_key = $3, owner_client = $4, "
    "member_count = member_count + $5, version = version + 1, modified = $6, doc = $7 "
    "WHERE n = $1"};
constexpr Statement kSetMemberCount{"group.set_member_count",
                                    "UPDATE grp SET member_count = $2 WHERE n = $1"};
constexpr Statement kDeleteGroup{"group.delete", "DELETE FROM grp WHERE n = $1"};
constexpr Statement kDeleteMembers{"group.delete_members", "DELETE FROM member WHERE group_n = $1"};
constexpr Statement kLeaveParents{
    "group.leave_parents",
    "UPDATE grp SET member_count = member_count - 1, version = version + 1, modified = $2 "
    "WHERE n IN (SELECT group_n FROM member WHERE member_n = $1 AND kind = 2)"};
constexpr Statement kDeleteMemberships{"group.delete_memberships",
                                       "DELETE FROM member WHERE member_n = $1 AND kind = 2"};
constexpr Statement kUserMemberByName{
    "member.user_by_name",
    "SELECT u.id FROM usr u JOIN member m ON m.group_n = $3 AND m.kind = 1 AND m.member_n = u.n "
    "WHERE u.org = $1 AND u.user_name_key = $2"};
constexpr Statement kGroupMemberByName{
    "member.group_by_name",
    "SELECT g.id FROM grp g JOIN member m ON m.group_n = $3 AND m.kind = 2 AND m.member_n = g.n "
    "WHERE g.org = $1 AND g.name_key = $2"};

std::string group_target(const Group& group) { return "group/" + group.id; }

std::unexpected<Error> name_taken() {
  return fail(Code::kAlreadyExists, "displayName: another group has it", "uniqueness");
}

json::value or_null(const std::optional<std::string>& text) {
  return text ? json::value(*text) : json::value(nullptr);
}

Result<void> check_version(const Group& group, const IfVersion& if_version) {
  if (if_version.holds(group.version)) return {};
  return fail(Code::kVersionMismatch,
              "the group has version " + std::to_string(group.version) + " by now");
}

/// Files would belong to a gid without a name, and so would people.
Result<void> check_not_primary(Tx& tx, OrgN org, Directory::Impl& impl, const Group& group) {
  if (!group.posix) return {};
  ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl.rules.get(tx, org));
  ASSIGN_OR_RETURN(bool primary, is_primary_group(tx, org, group.posix->number));
  primary = primary || rules->settings.primary_gid == group.posix->number;
  if (!primary) return {};
  return fail(Code::kFailedPrecondition,
              "the group " + group.posix->name + " is the primary group of people");
}

/// Whether members leave and the list gets no longer: access is taken from somebody.
bool takes_access(const std::vector<MemberOp>& operations, std::int64_t members) {
  return !operations.empty() &&
         std::ranges::all_of(operations, [members](const MemberOp& operation) {
           return operation.kind == MemberOp::Kind::kRemove ||
                  operation.kind == MemberOp::Kind::kRemoveAll ||
                  (operation.kind == MemberOp::Kind::kReplaceAll &&
                   static_cast<std::int64_t>(operation.ids.size()) < members);
         });
}

Result<GroupRecord> load_current(Tx& tx, const Actor& actor, OrgN org, std::string_view id) {
  ASSIGN_OR_RETURN(GroupRecord record, group_by_id(tx, org, id));
  RETURN_IF_ERROR(load_group_parts(tx, actor, {&record, 1}, {}));
  return record;
}

Result<Group> read_group(store::Database& db, const Actor& actor, Load load,
                         const std::function<Result<GroupRecord>(Tx&)>& find) {
  const auto read = [&actor, load, &find](Tx& tx) -> Result<GroupRows> {
    ASSIGN_OR_RETURN(GroupRecord record, find(tx));
    RETURN_IF_ERROR(load_group_parts(tx, actor, {&record, 1}, load));
    GroupRows rows;
    rows.records.push_back(std::move(record));
    return rows;
  };
  ASSIGN_OR_RETURN(GroupRows rows, read_groups(db, load.flattened, read));
  return std::move(rows.records.front().group);
}

/// What a write leaves of a group, when it leaves anything.
struct GroupPlan {
  GroupColumns next;
  std::optional<std::optional<std::string>> external_id;  // when it changes
  bool doc_changes = false;
};

Result<GroupPlan> plan_update(Tx& tx, OrgN org, const GroupRecord& current, GroupInput input) {
  GroupPlan plan;
  if (input.external_id) {
    RETURN_IF_ERROR(check_external_id(*input.external_id));
    if (*input.external_id != current.group.external_id) plan.external_id = *input.external_id;
  }
  ASSIGN_OR_RETURN(plan.next, group_columns(std::move(input.doc), current.doc_text.size()));
  plan.doc_changes = plan.next.doc_text != current.doc_text;
  if (plan.next.name_key != current.name_key) {
    ASSIGN_OR_RETURN(const auto taken,
                     tx.query_one(kGroupWithKey, integer_column, org, plan.next.name_key));
    if (taken) return name_taken();
  }
  return plan;
}

}  // namespace

Result<Group> Directory::create_group(const Actor& actor, OrgN org, const GroupInput& input,
                                      std::span<const std::string> member_ids) {
  RETURN_IF_ERROR(authorize(actor, org));
  const std::optional<std::string> external = input.external_id.value_or(std::nullopt);
  RETURN_IF_ERROR(check_external_id(external));
  RETURN_IF_ERROR(check_member_count(member_ids.size(), 0));
  ASSIGN_OR_RETURN(const GroupColumns columns, group_columns(input.doc, 0));
  const std::vector<MemberOp> joining{
      {MemberOp::Kind::kAdd, {member_ids.begin(), member_ids.end()}}};
  ASSIGN_OR_RETURN(const KnownMembers known, known_members(impl_->db, org, joining));
  return impl_->db.write([this, &actor, org, &columns, &external, &joining,
                          &known](Tx& tx) -> Result<Group> {
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(const auto taken,
                     tx.query_one(kGroupWithKey, integer_column, org, columns.name_key));
    if (taken) return name_taken();
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    const ClientN client = actor.client.value_or(row::kNoClient);
    const std::string id = impl_->uuids.next();
    ASSIGN_OR_RETURN(const NewIdentity identity,
                     identity_for(tx, *rules,
                                  {.org = org,
                                   .kind = row::kGroup,
                                   .wanted = columns.display_name,
                                   .key = columns.name_key,
                                   .pushed = columns.display_name,
                                   .external_id = external,
                                   .client = client,
                                   .active = true,
                                   .home = std::nullopt,
                                   .numbers_held = impl_->ids_are_held(org),
                                   .now = now},
                                  id));
    const GroupN n = identity.n;
    RETURN_IF_ERROR(tx.execute(kInsertGroup, n, org, id, columns.display_name, columns.name_key,
                               client, 0, to_millis(now), columns.doc_text));
    if (external) RETURN_IF_ERROR(set_external_id(tx, row::kGroup, client, n, external));
    MemberEdit members(tx, n, rules->settings, known);
    RETURN_IF_ERROR(members.apply(joining));
    if (!members.empty()) RETURN_IF_ERROR(tx.execute(kSetMemberCount, n, members.count_change()));

    ASSIGN_OR_RETURN(GroupRecord record, load_current(tx, actor, org, id));
    JournalEntry entry = journal_entry(actor, org, now, "group.create", group_target(record.group));
    Diff diff;
    diff.compare({}, columns.doc);
    if (identity.posix) diff.set("posix", nullptr, posix_json(*identity.posix));
    if (external) diff.set("externalId", nullptr, json::value(*external));
    members.describe(diff);
    entry.diff = diff.text();
    entry.changes = members.changes();
    entry.changes.insert(entry.changes.begin(), {row::kGroupChanged, n, 0});
    entry.groups = 1;
    impl_->journal->add(std::move(entry));
    return std::move(record.group);
  });
}

Result<Group> Directory::get_group(const Actor& actor, OrgN org, std::string_view id, Load load) {
  RETURN_IF_ERROR(authorize(actor, org));
  return read_group(impl_->db, actor, load, [org, id](Tx& tx) { return group_by_id(tx, org, id); });
}

Result<Group> Directory::update_group(const Actor& actor, OrgN org, std::string_view id,
                                      const IfVersion& if_version, const GroupEdit& edit) {
  RETURN_IF_ERROR(authorize(actor, org));
  struct Edited {
    GroupRecord current;
    GroupChange change;
  };
  const auto run_edit = [&actor, org, id, &if_version, &edit](Tx& tx) -> Result<Edited> {
    Edited edited;
    ASSIGN_OR_RETURN(edited.current, load_current(tx, actor, org, id));
    RETURN_IF_ERROR(check_version(edited.current.group, if_version));
    RETURN_IF_ERROR(check_owner(actor, edited.current.owner));
    ASSIGN_OR_RETURN(edited.change, edit(edited.current.group));
    std::size_t ids = 0;
    for (const MemberOp& op : edited.change.members) ids += op.ids.size();
    RETURN_IF_ERROR(check_member_count(ids, edited.current.group.member_count));
    return edited;
  };
  // First on a reader: what takes access away must be known as such before it waits in the writer's
  // queue, and thousands of members must not be looked up inside a write.
  ASSIGN_OR_RETURN(const Edited preview, impl_->db.read(run_edit));
  ASSIGN_OR_RETURN(const KnownMembers known, known_members(impl_->db, org, preview.change.members));
  const auto write = [this, &actor, org, id, &run_edit, &known](Tx& tx) -> Result<Group> {
    ASSIGN_OR_RETURN(Edited edited, run_edit(tx));
    GroupRecord& current = edited.current;
    GroupChange& change = edited.change;
    Group& group = current.group;
    ASSIGN_OR_RETURN(const GroupPlan plan, plan_update(tx, org, current, std::move(change.input)));
    ASSIGN_OR_RETURN(const std::shared_ptr<const Rules> rules, impl_->rules.get(tx, org));
    MemberEdit members(tx, group.n, rules->settings, known);
    RETURN_IF_ERROR(members.apply(change.members));
    if (!plan.doc_changes && !plan.external_id && members.empty()) return std::move(group);

    const Timestamp now = impl_->now();
    const bool adopts = current.owner == row::kNoClient && actor.client;
    RETURN_IF_ERROR(tx.execute(kUpdateGroup, group.n, plan.next.display_name, plan.next.name_key,
                               adopts ? *actor.client : current.owner, members.count_change(),
                               to_millis(now), plan.next.doc_text));
    if (plan.external_id) {
      RETURN_IF_ERROR(set_external_id(tx, row::kGroup, acting_client(actor, current.owner), group.n,
                                      *plan.external_id));
    }
    const bool own_change = plan.doc_changes || plan.external_id;
    JournalEntry entry = journal_entry(
        actor, org, now, own_change ? "group.update" : "group.members", group_target(group));
    Diff diff;
    diff.compare(group.doc, plan.next.doc);
    if (plan.external_id) {
      diff.set("externalId", or_null(group.external_id), or_null(*plan.external_id));
    }
    members.describe(diff);
    entry.diff = diff.text();
    entry.changes = members.changes();
    ASSIGN_OR_RETURN(const ScopeChanges moved,
                     scope_changes(tx, org, group.n, entry.changes, impl_->options.random));
    moved.add_to(entry);
    if (own_change) entry.changes.insert(entry.changes.begin(), {row::kGroupChanged, group.n, 0});
    impl_->journal->add(std::move(entry));
    ASSIGN_OR_RETURN(GroupRecord updated, load_current(tx, actor, org, id));
    return std::move(updated.group);
  };
  const bool urgent = takes_access(preview.change.members, preview.current.group.member_count);
  return impl_->db.write(write, urgent ? store::Urgency::kRevocation : store::Urgency::kNormal);
}

Result<void> Directory::delete_group(const Actor& actor, OrgN org, std::string_view id,
                                     const IfVersion& if_version) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write(
      [this, &actor, org, id, &if_version](Tx& tx) -> Result<void> {
        const Timestamp now = impl_->now();
        ASSIGN_OR_RETURN(const GroupRecord current, group_by_id(tx, org, id));
        const Group& group = current.group;
        RETURN_IF_ERROR(check_version(group, if_version));
        RETURN_IF_ERROR(check_owner(actor, current.owner));
        RETURN_IF_ERROR(check_not_primary(tx, org, *impl_, group));
        const ClientN client = acting_client(actor, current.owner);
        ASSIGN_OR_RETURN(const std::optional<std::string> external,
                         external_id(tx, row::kGroup, client, group.n));
        ASSIGN_OR_RETURN(const ScopeChanges moved,
                         scope_changes(tx, org, group.n, {}, {&group.n, 1}, impl_->options.random));
        RETURN_IF_ERROR(tx.execute(kLeaveParents, group.n, to_millis(now)));
        RETURN_IF_ERROR(tx.execute(kDeleteMemberships, group.n));
        RETURN_IF_ERROR(tx.execute(kDeleteMembers, group.n));
        RETURN_IF_ERROR(remove_external_ids(tx, org, row::kGroup, group.n));
        RETURN_IF_ERROR(tx.execute(kDeleteGroup, group.n));
        RETURN_IF_ERROR(
            bury_identity(tx, group.n, {group.id, current.name_key, client, external}, false, now));
        JournalEntry entry = journal_entry(actor, org, now, "group.delete", group_target(group));
        Diff diff;
        diff.compare(group.doc, {});
        entry.diff = diff.text();
        // One change: a number that no group explains has no effect on the nodes, so the members'
        // records need not be sent again. But they may be outside of a view's scope by now.
        entry.changes = {{row::kGroupChanged, group.n, 0}};
        moved.add_to(entry);
        entry.groups = -1;
        impl_->journal->add(std::move(entry));
        return {};
      },
      store::Urgency::kRevocation);
}

Result<Group> Directory::find_group(OrgN org, std::string_view name_or_id, Load load) {
  return read_group(impl_->db, Actor{}, load,
                    [org, name_or_id](Tx& tx) { return group_by_any_name(tx, org, name_or_id); });
}

Result<Group> Directory::rename_group(const Actor& actor, OrgN org, std::string_view id,
                                      const posix::GroupName& name) {
  RETURN_IF_ERROR(authorize(actor, org));
  return impl_->db.write([this, &actor, org, id, &name](Tx& tx) -> Result<Group> {
    ASSIGN_OR_RETURN(GroupRecord current, load_current(tx, actor, org, id));
    const Group& group = current.group;
    if (!group.posix) return not_provisioned("group");
    if (group.posix->name == name.str()) return std::move(current.group);
    const Timestamp now = impl_->now();
    ASSIGN_OR_RETURN(const auto rules, impl_->rules.get(tx, org));
    RETURN_IF_ERROR(rename_identity(tx, org, *rules, *group.posix, name.str(), now));
    RETURN_IF_ERROR(bump_group(tx, group.n, now));
    JournalEntry entry = journal_entry(actor, org, now, "group.rename", group_target(group));
    Diff diff;
    diff.set("posix.name", json::value(group.posix->name), json::value(name.str()));
    entry.diff = diff.text();
    entry.changes = {{row::kGroupChanged, group.n, 0}};
    impl_->journal->add(std::move(entry));
    ASSIGN_OR_RETURN(GroupRecord renamed, load_current(tx, actor, org, id));
    return std::move(renamed.group);
  });
}

Result<std::vector<std::string>> Directory::member_ids_by_display(OrgN org,
                                                                  std::string_view group_id,
                                                                  std::string_view display) {
  return impl_->db.read([org, group_id, display](Tx& tx) -> Result<std::vector<std::string>> {
    ASSIGN_OR_RETURN(const GroupRecord group, group_by_id(tx, org, group_id));
    std::vector<std::string> ids;
    const auto key = case_key(display);
    if (!key) return ids;
    for (const Statement* statement : {&kUserMemberByName, &kGroupMemberByName}) {
      ASSIGN_OR_RETURN(std::optional<std::string> id,
                       tx.query_one(*statement, text_column, org, *key, group.group.n));
      if (id) ids.push_back(std::move(*id));
    }
    return ids;
  });
}

}  // namespace roster::directory
