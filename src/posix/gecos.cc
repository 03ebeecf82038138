#include "posix/gecos.h"

#include <algorithm>
#include <cstdint>

namespace roster::posix {
namespace {

struct Character {
  std::uint32_t code_point = 0;
  std::size_t bytes = 0;  // 0: no well-formed character begins here
};

/// RFC 3629 4: shortest form only, no surrogates, nothing beyond U+10FFFF.
Character first_character(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead < 0xC2   ? 0
                            : lead < 0xE0 ? 2
                            : lead < 0xF0 ? 3
                            : lead < 0xF5 ? 4
                                          : 0;
  if (bytes == 0 || text.size() < bytes) return {};
  std::uint32_t code_point = lead & (0x7FU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return {};
    code_point = code_point << 6 | (byte(i) & 0x3FU);
  }
  const bool overlong = (bytes == 3 && code_point < 0x800) || (bytes == 4 && code_point < 0x10000);
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (overlong || surrogate || code_point > 0x10FFFF) return {};
  return {code_point, bytes};
}

bool becomes_space(std::uint32_t c) {
  return c <= 0x20 || c == ':' || c == ',' ||         // C0, space, separators of the line
         (c >= 0x7F && c <= 0xA0) ||                  // DEL, C1, no-break space
         c == 0x2028 || c == 0x2029 ||                // line and paragraph separator
         (c >= 0x200E && c <= 0x200F) ||              // direction marks
         (c >= 0x202A && c <= 0x202E) ||              // direction embeddings and overrides
         (c >= 0x2066 && c <= 0x2069) || c == 0x61C;  // direction isolates
}

}  // namespace

std::string sanitize_gecos(std::string_view display_name) {
  std::string out;
  bool space_pending = false;
  out.reserve(std::min(display_name.size(), kGecosBytesMax));
  while (!display_name.empty()) {
    // Most characters are plain.
    const char first = display_name.front();
    if (first > 0x20 && first < 0x7F && first != ':' && first != ',') {
      if (out.size() + (space_pending ? 2 : 1) > kGecosBytesMax) break;
      if (space_pending) out += ' ';
      space_pending = false;
      out += first;
      display_name.remove_prefix(1);
      continue;
    }
    const Character c = first_character(display_name);
    if (c.bytes == 0) {
      display_name.remove_prefix(1);
      continue;
    }
    const std::string_view bytes = display_name.substr(0, c.bytes);
    display_name.remove_prefix(c.bytes);
    if (becomes_space(c.code_point)) {
      space_pending = !out.empty();
      continue;
    }
    if (out.size() + (space_pending ? 1 : 0) + bytes.size() > kGecosBytesMax) break;
    if (space_pending) out += ' ';
    space_pending = false;
    out += bytes;
  }
  return out;
}

}  // namespace roster::posix
