#pragma once

#include <cstddef>
#include <string_view>

#include "base/json.h"
#include "directory/directory.h"
#include "http/message.h"
#include "provider/request.h"

namespace roster::provider {

// One operation on one resource type each. `body` is the request's; If-Match and the attribute
// parameters come from the call.

Result<http::Response> create_user(directory::Directory& directory, const Call& call,
                                   const json::value& body);
Result<http::Response> get_user(directory::Directory& directory, const Call& call,
                                std::string_view id);
Result<http::Response> replace_user(directory::Directory& directory, const Call& call,
                                    std::string_view id, const json::value& body);
Result<http::Response> patch_user(directory::Directory& directory, const Call& call,
                                  std::string_view id, const json::value& body);
/// The same for the person themself, who may change their SSH keys. kPermissionDenied for anything
/// else.
Result<http::Response> patch_own_user(directory::Directory& directory, const Call& call,
                                      std::string_view id, const json::value& body);
Result<http::Response> delete_user(directory::Directory& directory, const Call& call,
                                   std::string_view id);

Result<http::Response> create_group(directory::Directory& directory, const Call& call,
                                    const json::value& body);
Result<http::Response> get_group(directory::Directory& directory, const Call& call,
                                 std::string_view id);
Result<http::Response> replace_group(directory::Directory& directory, const Call& call,
                                     std::string_view id, const json::value& body);
/// 204, or 200 with a body when the client names attributes.
Result<http::Response> patch_group(directory::Directory& directory, const Call& call,
                                   std::string_view id, const json::value& body);
Result<http::Response> delete_group(directory::Directory& directory, const Call& call,
                                    std::string_view id);

/// The functions of one resource type.
struct Functions {
  const scim::ResourceType& (*type)();
  Result<http::Response> (*create)(directory::Directory&, const Call&, const json::value&);
  Result<http::Response> (*get)(directory::Directory&, const Call&, std::string_view);
  Result<http::Response> (*replace)(directory::Directory&, const Call&, std::string_view,
                                    const json::value&);
  Result<http::Response> (*patch)(directory::Directory&, const Call&, std::string_view,
                                  const json::value&);
  Result<http::Response> (*remove)(directory::Directory&, const Call&, std::string_view);
};
/// Of "Users" or "Groups"; null for anything else.
const Functions* functions_of(std::string_view collection);

}  // namespace roster::provider
