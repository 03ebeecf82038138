#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "scim/sort.h"

namespace roster::provider {

/// Where a resource stands among the matches of a query: behind the value it is sorted by come the
/// number of its type and its id, so that no two are at one place.
struct Place {
  scim::SortKey key;
  std::size_t type = 0;  // index in scim::resource_types()
  std::string id;
};

/// The state of a query between two pages (RFC 9865). It is all in the text that the client holds:
/// nothing is kept here, and it stays good over a restart.
struct Cursor {
  Place last;                         // the last resource of the page before
  std::int64_t given = 0;             // resources on all pages before
  std::optional<std::int64_t> total;  // matches when the query began
  std::int64_t count = 0;
  Timestamp issued;

  /// base64url: unreserved characters alone. Signed with the bearer token, for `query` alone.
  std::string encode(std::string_view bearer, std::string_view query) const;
  /// kInvalidArgument: (invalidCursor) for everything that encode() did not make for this bearer
  /// and query, in one message; (expiredCursor) when it is too old; (invalidCount) when `count` is
  /// another one.
  static Result<Cursor> decode(std::string_view text, std::string_view bearer,
                               std::string_view query, std::int64_t count, Timestamp now);
};

}  // namespace roster::provider
