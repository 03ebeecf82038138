#pragma once

#include "base/json.h"
#include "directory/directory.h"
#include "http/message.h"
#include "provider/listing.h"
#include "provider/request.h"
#include "scim/schema.h"

namespace roster::provider {

/// GET of a collection, or POST of a search (RFC 7644 3.4.2, 3.4.3) at a collection or (no `type`)
/// at the root, by index or by cursor (RFC 9865). Without sortBy, resources come in order of type
/// and id, which is the order of their creation.
Result<http::Response> answer_list(directory::Directory& directory, PageMemory& pages,
                                   const Call& call, const scim::ResourceType* type,
                                   const json::object* search);

}  // namespace roster::provider
