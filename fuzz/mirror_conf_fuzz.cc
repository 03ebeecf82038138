#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "mirror/identity_memory.h"
#include "mirror/settings.h"
#include "mirror/testing/saved.h"

using namespace roster;
using namespace roster::mirror;

// Any text is a configuration or an error, and a memory of identities or an error; what was read
// from a memory is written as it can be read again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto settings = parse_settings(text, "token");
  if (settings) CHECK(!settings->maps.empty() && !settings->server.base_url.empty());
  const auto memory = IdentityMemory::parse(std::string(text));
  if (memory) {
    const std::string saved = mirror::testing::saved(*memory);
    const auto again = IdentityMemory::parse(saved);
    CHECK(again.has_value() && again->size() == memory->size());
    CHECK(mirror::testing::saved(*again) == saved);
  }
  return 0;
}
