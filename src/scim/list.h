#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace roster::scim {

inline constexpr std::int64_t kPageDefault = 100;
inline constexpr std::int64_t kPageMax = 1000;

/// RFC 7644 3.4.2.4.
struct Paging {
  std::int64_t start_index = 1;  // from 1
  std::int64_t count = kPageDefault;
};

/// startIndex below 1 is 1, count below 0 is 0 and above kPageMax is kPageMax; an absent count is
/// `count_default`. kInvalidArgument (invalidValue) when not an integer.
Result<Paging> parse_paging(std::optional<std::string_view> start_index,
                            std::optional<std::string_view> count, std::int64_t count_default);

/// RFC 7644 3.4.2. totalResults, startIndex, itemsPerPage and Resources are always there, as
/// integers and a list: readers loop forever or stop early without them.
json::object list_response(std::int64_t total, std::int64_t start_index, json::array resources);

}  // namespace roster::scim
