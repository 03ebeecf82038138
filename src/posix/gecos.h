#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace roster::posix {

inline constexpr std::size_t kGecosBytesMax = 256;

/// A display name as the gecos field of passwd(5): well-formed UTF-8, at most 256 bytes, one line.
/// ':' ends the field, ',' ends the full name inside it (finger(1), chfn(1)), and control
/// characters, line separators and direction overrides deceive whoever reads the line: each becomes
/// a space. Bytes that are not UTF-8 are dropped, runs of spaces become one, spaces at the ends go,
/// and a character that no longer fits goes whole. Idempotent.
std::string sanitize_gecos(std::string_view display_name);

}  // namespace roster::posix
