#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "scim/resource.h"

using namespace roster;

// A normalized document is its own normal form.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto body = json::parse({reinterpret_cast<const char*>(data), size});
  if (!body) return 0;
  for (const scim::ResourceType* type : scim::resource_types()) {
    const auto resource = scim::normalize(*type, *body);
    if (!resource) continue;
    const auto again = scim::normalize(*type, resource->doc);
    CHECK(again.has_value());
    CHECK(again->doc == resource->doc);
  }
  return 0;
}
