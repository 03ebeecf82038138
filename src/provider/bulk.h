#pragma once

#include <cstddef>

#include "base/json.h"
#include "directory/directory.h"
#include "http/message.h"
#include "provider/request.h"

namespace roster::provider {

inline constexpr std::size_t kBulkOperationsMax = 1000;

/// POST /Bulk (RFC 7644 3.7). Each operation is a transaction of its own, in order, except that a
/// resource which others refer to by bulkId is made before them; of resources that refer to each
/// other in a circle, one is made without its references, which are added in the end. An operation
/// that refers to what was not made fails with 409. kTooLarge for more than kBulkOperationsMax.
Result<http::Response> answer_bulk(directory::Directory& directory, const Call& call,
                                   const json::value& body);

}  // namespace roster::provider
