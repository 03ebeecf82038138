#pragma once

#include <cstdint>
#include <string_view>

namespace roster::hub {

/// What to send of a representation of `size` bytes.
struct ByteRange {
  enum class Kind { kWhole, kPart, kUnsatisfiable } kind = Kind::kWhole;
  std::uint64_t first = 0;
  std::uint64_t size = 0;
};

/// RFC 9110 14.1.2 and 14.2, one range of bytes. Whatever is not that is ignored, as the RFC
/// allows: several ranges, other units, bad syntax.
ByteRange parse_range(std::string_view header, std::uint64_t size);

}  // namespace roster::hub
