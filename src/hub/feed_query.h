#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"

namespace roster::hub {

/// Where a part of a delta goes on: `reached` so far, complete at `head`.
struct Continuation {
  Seq reached;
  Seq head;
  std::string encode() const;
};

/// Parameters of a request for changes (feed/FORMAT.md 3.1).
struct FeedQuery {
  std::optional<std::string> view;
  std::string cursor;         // as sent
  bool acknowledges = false;  // `since`, not `from`
  std::optional<Continuation> more;
  std::uint32_t highest_id = 0;
  std::chrono::seconds wait{0};

  /// kInvalidArgument naming the parameter.
  static Result<FeedQuery> parse(std::string_view query);
};

}  // namespace roster::hub
