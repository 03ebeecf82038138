#include "directory/member_edit.h"

#include <algorithm>
#include <optional>

#include "directory/group_rows.h"
#include "directory/schema.h"

namespace roster::directory {
namespace {

using store::Statement;
using store::Tx;

constexpr std::int64_t kMembersPerRequestMax = 100'000;
constexpr std::size_t kLookedUpAtOnce = 1000;  // in one read transaction

// Whoever was deleted since they were looked up does not join.
constexpr Statement kInsertUserMember{
    "member.insert_user",
    "INSERT INTO member (group_n, kind, member_n) SELECT $1, 1, n FROM usr WHERE n = $2 "
    "ON CONFLICT (group_n, kind, member_n) DO NOTHING"};
constexpr Statement kInsertGroupMember{
    "member.insert_group",
    "INSERT INTO member (group_n, kind, member_n) SELECT $1, 2, n FROM grp WHERE n = $2 "
    "ON CONFLICT (group_n, kind, member_n) DO NOTHING"};
constexpr Statement kDeleteMember{
    "member.delete", "DELETE FROM member WHERE group_n = $1 AND kind = $2 AND member_n = $3"};

std::unexpected<Error> bad_member(std::string_view id, std::string_view why) {
  return fail(Code::kInvalidArgument, "members: " + std::string(id) + " " + std::string(why),
              "invalidValue");
}

}  // namespace

Result<void> check_member_count(std::size_t named, std::int64_t present) {
  if (static_cast<std::int64_t>(named) <= std::max(kMembersPerRequestMax, present)) return {};
  return fail(Code::kTooLarge,
              "members: more than " + std::to_string(kMembersPerRequestMax) + " in one request");
}

Result<KnownMembers> known_members(store::Database& database, OrgN org,
                                   std::span<const MemberOp> operations) {
  std::vector<std::string_view> ids;
  for (const MemberOp& operation : operations) {
    ids.insert(ids.end(), operation.ids.begin(), operation.ids.end());
  }
  KnownMembers known;
  for (std::size_t from = 0; from < ids.size(); from += kLookedUpAtOnce) {
    const auto some = std::span(ids).subspan(from, std::min(kLookedUpAtOnce, ids.size() - from));
    RETURN_IF_ERROR(database.read([org, some, &known](Tx& tx) -> Result<void> {
      for (const std::string_view id : some) {
        std::string key(id);
        if (known.contains(key)) continue;
        ASSIGN_OR_RETURN(const std::optional<MemberRef> found, resolve_member(tx, org, id));
        if (found) known.emplace(std::move(key), *found);
      }
      return {};
    }));
  }
  return known;
}

Result<void> MemberEdit::apply(std::span<const MemberOp> operations) {
  for (const MemberOp& operation : operations) RETURN_IF_ERROR(apply(operation));
  return {};
}

Result<void> MemberEdit::apply(const MemberOp& op) {
  switch (op.kind) {
    case MemberOp::Kind::kAdd:
      return add_all(op.ids);
    case MemberOp::Kind::kRemove:
      return remove_all(op.ids);
    case MemberOp::Kind::kReplaceAll:
      return replace_all(op.ids);
    case MemberOp::Kind::kRemoveAll:
      return replace_all({});
  }
  check_failed("an unknown operation on members", std::source_location::current());
}

std::int64_t MemberEdit::count_change() const {
  std::int64_t change = 0;
  for (const auto& [member, net] : net_) change += net.joined ? 1 : -1;
  return change;
}

std::vector<ChangeRow> MemberEdit::changes() const {
  std::vector<ChangeRow> rows;
  for (const auto& [member, net] : net_) {
    const bool user = member.first == row::kUser;
    const int kind = net.joined ? (user ? row::kUserJoined : row::kGroupJoined)
                                : (user ? row::kUserLeft : row::kGroupLeft);
    rows.push_back({kind, member.second, group_});
  }
  return rows;
}

void MemberEdit::describe(Diff& diff) const {
  std::vector<std::string> joined;
  std::vector<std::string> left;
  for (const auto& [member, net] : net_) (net.joined ? joined : left).push_back(net.id);
  diff.sets("members", joined, left);
}

Result<MemberEdit::Member> MemberEdit::resolve(const std::string& id) const {
  const auto found = known_.find(id);
  if (found == known_.end()) return bad_member(id, "is neither a user nor a group");
  const MemberRef& known = found->second;
  if (known.kind == row::kGroup && known.n == group_) {
    return bad_member(id, "is this group: a group is not a member of itself");
  }
  return Member{known.kind, known.n};
}

/// An addition undoes a removal before it, and the other way round.
void MemberEdit::note(const Member& member, bool joined, std::string_view id) {
  const auto [at, fresh] = net_.try_emplace(member, Net{joined, std::string(id)});
  if (!fresh && at->second.joined != joined) net_.erase(at);
}

Result<void> MemberEdit::add(const Member& member, std::string_view id) {
  const bool group = member.first == row::kGroup;
  ASSIGN_OR_RETURN(
      const std::int64_t added,
      tx_.execute(group ? kInsertGroupMember : kInsertUserMember, group_, member.second));
  if (added == 0) return {};
  if (group && !nests_) {
    return bad_member(id, "is a group, and nested groups are switched off in this organization");
  }
  note(member, true, id);
  return {};
}

Result<void> MemberEdit::remove(const Member& member, std::string_view id) {
  ASSIGN_OR_RETURN(const std::int64_t removed,
                   tx_.execute(kDeleteMember, group_, member.first, member.second));
  if (removed > 0) note(member, false, id);
  return {};
}

Result<void> MemberEdit::add_all(std::span<const std::string> ids) {
  for (const std::string& id : ids) {
    ASSIGN_OR_RETURN(const Member member, resolve(id));
    RETURN_IF_ERROR(add(member, id));
  }
  return {};
}

/// Who does not exist is no member: identity providers remove people after deleting them.
Result<void> MemberEdit::remove_all(std::span<const std::string> ids) {
  for (const std::string& id : ids) {
    const auto found = known_.find(id);
    if (found == known_.end()) continue;
    RETURN_IF_ERROR(remove({found->second.kind, found->second.n}, id));
  }
  return {};
}

Result<void> MemberEdit::replace_all(std::span<const std::string> ids) {
  std::map<Member, std::string_view> wanted;
  for (const std::string& id : ids) {
    ASSIGN_OR_RETURN(const Member member, resolve(id));
    wanted.emplace(member, id);
  }
  ASSIGN_OR_RETURN(const std::vector<MemberRow> current, members_of(tx_, group_));
  for (const MemberRow& row : current) {
    if (wanted.erase({row.kind, row.n}) > 0) continue;
    RETURN_IF_ERROR(remove({row.kind, row.n}, row.id));
  }
  for (const auto& [member, id] : wanted) RETURN_IF_ERROR(add(member, id));
  return {};
}

}  // namespace roster::directory
