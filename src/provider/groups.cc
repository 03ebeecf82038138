#include <map>
#include <utility>

#include "directory/nesting.h"
#include "provider/render.h"
#include "provider/resources.h"
#include "scim/error.h"
#include "scim/patch.h"
#include "scim/resource.h"

namespace roster::provider {
namespace {

using directory::Directory;
using directory::Group;
using directory::GroupInput;
using directory::MemberOp;

http::Response answer(const Call& call, const scim::Projection& projection, int status,
                      Group group) {
  const std::string tag = entity_tag(group.version);
  json::object body = render(call, std::move(group));
  const std::string location(json::find_string(body.at("meta").as_object(), "location").value());
  http::Response response = json_answer(status, projection.apply(std::move(body)));
  response.headers.set("ETag", tag);
  response.headers.set("Location", location);
  return response;
}

/// After a write: members are read only when they are wanted.
Result<http::Response> answer_written(Directory& directory, const Call& call,
                                      const scim::Projection& projection, int status, Group group) {
  if (projection.wants("", "members")) {
    ASSIGN_OR_RETURN(group,
                     directory.get_group(call.actor, call.org.n, group.id, {.members = true}));
  }
  return answer(call, projection, status, std::move(group));
}

/// Operations on members. `judged`: the version of the group that a filter chose among.
struct MemberChange {
  std::vector<MemberOp> ops;
  std::optional<std::int64_t> judged;
};

std::string text_of(const json::object& doc, std::string_view attribute) {
  return std::string(json::find_string(doc, attribute).value_or(""));
}

directory::Reference as_member(const directory::User& user) {
  return {.id = user.id,
          .display = text_of(user.doc, "userName"),
          .posix_name = user.posix ? user.posix->name : "",
          .is_group = false,
          .active = user.active,
          .valid_until = user.valid_until};
}

directory::Reference as_member(const Group& group) {
  return {.id = group.id,
          .display = text_of(group.doc, "displayName"),
          .posix_name = group.posix ? group.posix->name : "",
          .is_group = true};
}

/// The members after some operations, for filters on anything but `value`, which must know who they
/// are.
class JudgedMembers {
 public:
  static Result<JudgedMembers> load(Directory& directory, const Call& call, std::string_view id) {
    ASSIGN_OR_RETURN(Group group,
                     directory.get_group(call.actor, call.org.n, id, {.members = true}));
    JudgedMembers judged(directory, call);
    judged.version_ = group.version;
    for (directory::Reference& member : group.members) {
      std::string key = member.id;
      judged.members_.emplace(std::move(key), std::move(member));
    }
    return judged;
  }

  std::int64_t version() const { return version_; }

  Result<void> carry_out(const MemberOp& op) {
    const bool replaces =
        op.kind == MemberOp::Kind::kReplaceAll || op.kind == MemberOp::Kind::kRemoveAll;
    if (replaces) members_.clear();
    for (const std::string& id : op.ids) {
      if (op.kind == MemberOp::Kind::kRemove) {
        members_.erase(id);
      } else if (!members_.contains(id)) {
        RETURN_IF_ERROR(add(id));
      }
    }
    return {};
  }

  std::vector<std::string> selected(const scim::Filter& filter) const {
    std::vector<std::string> ids;
    for (const auto& [id, member] : members_) {
      if (filter.matches_element(render_member(call_, member))) ids.push_back(id);
    }
    return ids;
  }

 private:
  JudgedMembers(Directory& directory, const Call& call) : directory_(directory), call_(call) {}

  /// Who is neither a person nor a group is told about by the write.
  Result<void> add(const std::string& id) {
    const auto user = directory_.get_user(call_.actor, call_.org.n, id, {});
    if (user) {
      members_.emplace(id, as_member(*user));
      return {};
    }
    if (user.error().code != Code::kNotFound) return std::unexpected(user.error());
    const auto group = directory_.get_group(call_.actor, call_.org.n, id, {});
    if (group) members_.emplace(id, as_member(*group));
    if (group || group.error().code == Code::kNotFound) return {};
    return std::unexpected(group.error());
  }

  Directory& directory_;
  const Call& call_;
  std::int64_t version_ = 0;
  std::map<std::string, directory::Reference> members_;
};

MemberOp member_op(const scim::ListOp& op) {
  switch (op.kind) {
    case scim::ListOp::Kind::kAdd:
      return {.kind = MemberOp::Kind::kAdd, .ids = op.values};
    case scim::ListOp::Kind::kReplace:
      return {.kind = op.values.empty() ? MemberOp::Kind::kRemoveAll : MemberOp::Kind::kReplaceAll,
              .ids = op.values};
    case scim::ListOp::Kind::kRemove:
    case scim::ListOp::Kind::kRemoveWhere:
      return {.kind = MemberOp::Kind::kRemove, .ids = op.values};
  }
  check_failed("an unknown operation on a list", std::source_location::current());
}

/// In order (RFC 7644 3.5.2). kInvalidArgument (noTarget) when a filter selects nobody: "done"
/// would be a lie.
Result<MemberChange> member_change(Directory& directory, const Call& call, std::string_view id,
                                   const std::vector<scim::ListOp>& ops) {
  MemberChange out;
  std::optional<JudgedMembers> judged;
  for (const scim::ListOp& op : ops) {
    MemberOp next = member_op(op);
    if (op.kind == scim::ListOp::Kind::kRemoveWhere) {
      if (!judged) {
        ASSIGN_OR_RETURN(JudgedMembers present, JudgedMembers::load(directory, call, id));
        judged.emplace(std::move(present));
        for (const MemberOp& before : out.ops) RETURN_IF_ERROR(judged->carry_out(before));
      }
      next.ids = judged->selected(*op.filter);
      if (next.ids.empty()) {
        return fail(Code::kInvalidArgument, "members: the filter matches no member",
                    scim::kNoTarget);
      }
    }
    if (judged) RETURN_IF_ERROR(judged->carry_out(next));
    out.ops.push_back(std::move(next));
  }
  if (judged) out.judged = judged->version();
  return out;
}

/// The group after all operations. kUnavailable when others changed it again and again since a
/// filter was judged.
Result<Group> apply_patch(Directory& directory, const Call& call, std::string_view id,
                          const scim::Patch& patch) {
  constexpr int kAttemptsMax = 32;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    ASSIGN_OR_RETURN(const MemberChange members, member_change(directory, call, id, patch.members));
    directory::IfVersion condition = if_version(call.request);
    if (members.judged) {
      // Whom a filter selects was read before the write: carried out on a later version, the PATCH
      // would have no place in the order of versions. Test: group_property_test.cc.
      const std::int64_t version = *members.judged;
      if (!condition.holds(version)) {
        return fail(Code::kVersionMismatch,
                    "the group has version " + std::to_string(version) + " by now");
      }
      condition = directory::IfVersion(version);
    }
    const auto edit = [&patch, &members](const Group& current) -> Result<Directory::GroupChange> {
      Directory::GroupChange change;
      ASSIGN_OR_RETURN(change.input.doc,
                       scim::apply(scim::group_type(), current.doc, patch.document));
      change.input.external_id = patch.external_id;
      change.members = members.ops;
      return change;
    };
    Result<Group> group = directory.update_group(call.actor, call.org.n, id, condition, edit);
    const bool changed_since =
        !group && members.judged && group.error().code == Code::kVersionMismatch;
    if (!changed_since) return group;
  }
  return fail(Code::kUnavailable, "others keep changing the group's members: send this again");
}

}  // namespace

Result<http::Response> create_group(Directory& directory, const Call& call,
                                    const json::value& body) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::group_type()));
  ASSIGN_OR_RETURN(scim::Resource resource, scim::normalize(scim::group_type(), body));
  const std::vector<std::string> members =
      std::move(resource.members).value_or(std::vector<std::string>{});
  const GroupInput input{.doc = std::move(resource.doc), .external_id = resource.external_id};
  ASSIGN_OR_RETURN(Group group, directory.create_group(call.actor, call.org.n, input, members));
  if (members.empty()) return answer(call, projection, 201, std::move(group));
  return answer_written(directory, call, projection, 201, std::move(group));
}

Result<http::Response> get_group(Directory& directory, const Call& call, std::string_view id) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::group_type()));
  directory::Nesting nesting;
  const directory::Load load{.keys = false,
                             .groups = false,
                             .members = projection.wants("", "members"),
                             .flattened = call.reader() ? &nesting : nullptr};
  ASSIGN_OR_RETURN(Group group, directory.get_group(call.actor, call.org.n, id, load));
  if (call.only_active()) leave_active(group, call.now);
  if (!call.reader()) {
    const std::string tag = entity_tag(group.version);
    // Who may log in changes under the same version.
    if (!call.only_active() && if_none_match(call.request, tag)) return not_modified(tag);
    return answer(call, projection, 200, std::move(group));
  }
  // What a reader is shown of the members changes under the same version.
  ASSIGN_OR_RETURN(const std::string tag, state_tag(directory, call));
  if (if_none_match(call.request, tag)) return not_modified(tag);
  http::Response response = answer(call, projection, 200, std::move(group));
  response.headers.set("ETag", tag);
  return response;
}

Result<http::Response> replace_group(Directory& directory, const Call& call, std::string_view id,
                                     const json::value& body) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::group_type()));
  ASSIGN_OR_RETURN(const scim::Resource resource, scim::normalize(scim::group_type(), body));
  // A body without `members` says nothing about them; [] and null say that there are none.
  std::vector<MemberOp> ops;
  if (resource.members) {
    ops.push_back({.kind = resource.members->empty() ? MemberOp::Kind::kRemoveAll
                                                     : MemberOp::Kind::kReplaceAll,
                   .ids = *resource.members});
  }
  const auto edit = [&resource, &ops](const Group& current) -> Result<Directory::GroupChange> {
    return Directory::GroupChange{
        .input = {.doc = scim::replace_document(scim::group_type(), current.doc, resource),
                  .external_id = resource.external_id},
        .members = ops};
  };
  ASSIGN_OR_RETURN(Group group, directory.update_group(call.actor, call.org.n, id,
                                                       if_version(call.request), edit));
  return answer_written(directory, call, projection, 200, std::move(group));
}

Result<http::Response> patch_group(Directory& directory, const Call& call, std::string_view id,
                                   const json::value& body) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::group_type()));
  ASSIGN_OR_RETURN(const scim::Patch patch, scim::parse_patch(scim::group_type(), body));
  ASSIGN_OR_RETURN(Group group, apply_patch(directory, call, id, patch));
  if (projection.is_explicit()) {
    return answer_written(directory, call, projection, 200, std::move(group));
  }
  http::Response response{.status = 204, .headers = {}, .body = {}};
  response.headers.set("ETag", entity_tag(group.version));
  return response;
}

Result<http::Response> delete_group(Directory& directory, const Call& call, std::string_view id) {
  RETURN_IF_ERROR(directory.delete_group(call.actor, call.org.n, id, if_version(call.request)));
  return http::Response{.status = 204, .headers = {}, .body = {}};
}

}  // namespace roster::provider
