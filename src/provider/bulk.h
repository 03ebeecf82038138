#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

#include "base/json.h"
#include "base/time.h"
#include "directory/directory.h"
#include "http/message.h"
#include "provider/request.h"

namespace roster::provider {

inline constexpr std::size_t kBulkOperationsMax = 1000;

/// What holds between the operations of a request.
struct BulkRules {
  MonotonicClock clock;
  /// No operation begins later than this after the request did.
  std::chrono::milliseconds time_max;
  /// Whether the caller may still write; asked before each operation.
  std::function<Result<void>()> still_allowed;
};

/// POST /Bulk (RFC 7644 3.7). Each operation is a transaction of its own, in order, except that a
/// resource which others refer to by bulkId is made before them; of resources that refer to each
/// other in a circle, one is made without its references, which are added as soon as the others are
/// made. An operation that refers to what was not made fails with 409. When the time is used up
/// (503) or the caller may not write any more, the operations that are left fail, each for itself.
/// kTooLarge for more than kBulkOperationsMax.
Result<http::Response> answer_bulk(directory::Directory& directory, const Call& call,
                                   const BulkRules& rules, const json::value& body);

}  // namespace roster::provider
