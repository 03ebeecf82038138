#include <cstddef>
#include <cstdint>
#include <string_view>

#include "scim/filter.h"

using namespace roster;

// What parses as a path prints as a name that resolves to the same attribute.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const scim::ResourceType* type : scim::resource_types()) {
    const auto path = scim::parse_path(*type, text);
    if (!path || !*path) continue;
    const auto again = scim::resolve(*type, scim::full_name(*type, (*path)->ref));
    CHECK(again == (*path)->ref);
  }
  return 0;
}
