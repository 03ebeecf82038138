#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "directory/directory.h"
#include "http/message.h"
#include "hub/views.h"

namespace roster::hub {

/// The credential of `Authorization: Bearer ...` (RFC 6750 2.1). kUnauthenticated without one.
Result<std::string_view> bearer_credential(const http::Headers& headers);

/// A node that may read its view of its organization.
struct NodeAccess {
  directory::Node node;
  directory::Org org;
  View view;
  std::string epoch;  // of the view
};

/// kUnauthenticated for an unknown or revoked credential; kPermissionDenied for another
/// organization than the node's, whether that exists or not, and for another view than its own.
Result<NodeAccess> authorize_node(directory::Directory& directory, const http::Request& request,
                                  std::string_view org_slug,
                                  std::optional<std::string_view> view_name);

}  // namespace roster::hub
