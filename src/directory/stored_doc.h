#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace roster::directory {

/// Canonical bytes of a user's or group's document.
inline constexpr std::size_t kDocBytesMax = 512 << 10;

/// kTooLarge beyond kDocBytesMax, unless no longer than the document that it replaces (0: none):
/// what was stored under another limit can still be changed, as long as it does not grow.
inline Result<void> check_doc_size(std::size_t bytes, std::size_t bytes_before) {
  if (bytes <= kDocBytesMax || bytes <= bytes_before) return {};
  return fail(Code::kTooLarge, "the resource is longer than " + std::to_string(kDocBytesMax) +
                                   " bytes as it would be stored");
}

/// A document of the store. Its limits are above all that was ever admitted, because a row that
/// cannot be read can be neither locked nor deleted.
inline Result<json::value> parse_stored_doc(std::string_view text) {
  return json::parse(text, {.bytes_max = 64 << 20, .depth_max = 64, .values_max = 64 << 20});
}

}  // namespace roster::directory
