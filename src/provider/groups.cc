#include <utility>

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
                      const Group& group) {
  json::object body = render(call, group);
  const std::string location(json::find_string(body.at("meta").as_object(), "location").value());
  http::Response response = json_answer(status, projection.apply(std::move(body)));
  response.headers.set("ETag", entity_tag(group.version));
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
  return answer(call, projection, status, group);
}

/// Ids of the members that a filter other than `value eq` selects.
/// kInvalidArgument (noTarget) when there are none: "done" would be a lie.
Result<std::vector<std::string>> select_members(Directory& directory, const Call& call,
                                                std::string_view id, const scim::Filter& filter) {
  ASSIGN_OR_RETURN(const Group group,
                   directory.get_group(call.actor, call.org.n, id, {.members = true}));
  std::vector<std::string> ids;
  for (const directory::Reference& member : group.members) {
    if (filter.matches_element(render_member(call, member))) ids.push_back(member.id);
  }
  if (ids.empty()) {
    return fail(Code::kInvalidArgument, "members: the filter matches no member", scim::kNoTarget);
  }
  return ids;
}

Result<std::vector<MemberOp>> member_ops(Directory& directory, const Call& call,
                                         std::string_view id,
                                         const std::vector<scim::ListOp>& ops) {
  std::vector<MemberOp> out;
  for (const scim::ListOp& op : ops) {
    switch (op.kind) {
      case scim::ListOp::Kind::kAdd:
        out.push_back({.kind = MemberOp::Kind::kAdd, .ids = op.values});
        break;
      case scim::ListOp::Kind::kRemove:
        out.push_back({.kind = MemberOp::Kind::kRemove, .ids = op.values});
        break;
      case scim::ListOp::Kind::kReplace:
        out.push_back(
            {.kind = op.values.empty() ? MemberOp::Kind::kRemoveAll : MemberOp::Kind::kReplaceAll,
             .ids = op.values});
        break;
      case scim::ListOp::Kind::kRemoveWhere: {
        // The filter is judged on the members before this request.
        if (!out.empty()) {
          return fail(Code::kInvalidArgument,
                      "members: a filter on anything but value must come first",
                      scim::kInvalidFilter);
        }
        ASSIGN_OR_RETURN(auto ids, select_members(directory, call, id, *op.filter));
        out.push_back({.kind = MemberOp::Kind::kRemove, .ids = std::move(ids)});
        break;
      }
    }
  }
  return out;
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
  if (members.empty()) return answer(call, projection, 201, group);
  return answer_written(directory, call, projection, 201, std::move(group));
}

Result<http::Response> get_group(Directory& directory, const Call& call, std::string_view id) {
  ASSIGN_OR_RETURN(const scim::Projection projection, parse_projection(call, scim::group_type()));
  const directory::Load load{.keys = false,
                             .groups = false,
                             .members = projection.wants("", "members"),
                             .flattened = call.reader()};
  ASSIGN_OR_RETURN(const Group group, directory.get_group(call.actor, call.org.n, id, load));
  // Members of nested groups come and go under the same version.
  if (!group.nests && if_none_match(call.request, entity_tag(group.version))) {
    http::Response unchanged{.status = 304, .headers = {}, .body = {}};
    unchanged.headers.set("ETag", entity_tag(group.version));
    return unchanged;
  }
  return answer(call, projection, 200, group);
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
  ASSIGN_OR_RETURN(const auto ops, member_ops(directory, call, id, patch.members));
  const auto edit = [&patch, &ops](const Group& current) -> Result<Directory::GroupChange> {
    Directory::GroupChange change;
    ASSIGN_OR_RETURN(change.input.doc,
                     scim::apply(scim::group_type(), current.doc, patch.document));
    change.input.external_id = patch.external_id;
    change.members = ops;
    return change;
  };
  ASSIGN_OR_RETURN(Group group, directory.update_group(call.actor, call.org.n, id,
                                                       if_version(call.request), edit));
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
