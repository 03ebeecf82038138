#include "hub/access.h"

#include <utility>

#include "base/unicode.h"

namespace roster::hub {

Result<std::string_view> bearer_credential(const http::Headers& headers) {
  constexpr std::string_view kScheme = "Bearer ";
  std::string_view value = headers.get("Authorization");
  if (value.size() <= kScheme.size() || !ascii_iequals(value.substr(0, kScheme.size()), kScheme)) {
    return fail(Code::kUnauthenticated, "a bearer credential is required");
  }
  value.remove_prefix(kScheme.size());
  return value;
}

Result<NodeAccess> authorize_node(directory::Directory& directory, const http::Request& request,
                                  std::string_view org_slug,
                                  std::optional<std::string_view> view_name) {
  ASSIGN_OR_RETURN(const std::string_view credential, bearer_credential(request.headers));
  ASSIGN_OR_RETURN(directory::Node node, directory.authenticate_node(credential));
  auto org = directory.org_now(org_slug);
  if (!org && org.error().code != Code::kNotFound) return std::unexpected(org.error());
  if (!org || org->n != node.org) {
    return fail(Code::kPermissionDenied, "this node belongs to another organization");
  }
  if (view_name && *view_name != node.view) {
    return fail(Code::kPermissionDenied, "this node's credential is for view " + node.view);
  }
  auto view = find_view(directory, *org, node.view);
  if (!view && view.error().code == Code::kNotFound) {
    return fail(Code::kPermissionDenied, "this node's view " + node.view + " does not exist");
  }
  if (!view) return std::unexpected(view.error());
  std::string epoch = view_epoch(*org, *view);
  return NodeAccess{.node = std::move(node),
                    .org = std::move(*org),
                    .view = std::move(*view),
                    .epoch = std::move(epoch)};
}

}  // namespace roster::hub
