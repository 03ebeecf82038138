#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace roster::scim {

inline constexpr std::int64_t kPageDefault = 100;
inline constexpr std::int64_t kPageMax = 1000;
/// For how long after it was given out a cursor is taken.
inline constexpr std::chrono::seconds kCursorLifetime{3600};

/// RFC 7644 3.4.2.4.
struct Paging {
  std::int64_t start_index = 1;  // from 1
  std::int64_t count = kPageDefault;
};

/// startIndex below 1 is 1, count below 0 is 0 and above kPageMax is kPageMax; an absent count is
/// `count_default`. kInvalidArgument (invalidValue) when not an integer.
Result<Paging> parse_paging(std::optional<std::string_view> start_index,
                            std::optional<std::string_view> count, std::int64_t count_default);

/// The count of a query with a cursor (RFC 9865 2). kInvalidArgument (invalidCount) when it is not
/// an integer or negative.
Result<std::int64_t> parse_cursor_count(std::optional<std::string_view> count,
                                        std::int64_t count_default);

/// RFC 7644 3.4.2. totalResults, startIndex, itemsPerPage and Resources are always there, as
/// integers and a list: readers loop forever or stop early without them.
json::object list_response(std::int64_t total, std::int64_t start_index, json::array resources);

/// A page of a query with a cursor (RFC 9865 2): without nextCursor the last one.
struct CursorPage {
  json::array resources;
  std::optional<std::int64_t> total;
  std::optional<std::int64_t> start_index;
  std::optional<std::string> next_cursor;
};
json::object list_response(CursorPage page);

}  // namespace roster::scim
