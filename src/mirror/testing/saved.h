#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "mirror/identity_memory.h"

namespace roster::mirror::testing {

/// All that a memory would put into its file.
inline std::string saved(const IdentityMemory& memory) {
  std::string text;
  const auto written = memory.write([&text](std::string_view bytes) -> Result<void> {
    text += bytes;
    return {};
  });
  CHECK(written.has_value());
  return text;
}

}  // namespace roster::mirror::testing
