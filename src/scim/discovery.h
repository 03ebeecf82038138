#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "scim/list.h"

namespace roster::scim {

// Bodies of the discovery endpoints (RFC 7644 4). `base` is the URL in front of "/Users"; an empty
// one leaves meta.location out.

/// What is true for who asks.
struct Offer {
  bool writes = true;
  std::int64_t page_default = kPageDefault;
  std::size_t bulk_operations_max = 0;  // 0: no bulk
  std::size_t bulk_bytes_max = 0;
};
json::object service_provider_config(std::string_view base, const Offer& offer);

json::object resource_types(std::string_view base);
/// By name, e.g. "User". Nothing when there is no such type.
std::optional<json::object> resource_type(std::string_view base, std::string_view name);

json::object schemas(std::string_view base);
/// By URN, without case.
std::optional<json::object> schema(std::string_view base, std::string_view urn);

}  // namespace roster::scim
