#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace roster {

std::string hex_encode(std::string_view bytes);
Result<std::string> hex_decode(std::string_view text);

/// RFC 4648 4, with padding.
std::string base64_encode(std::string_view bytes);
/// Strict: canonical alphabet, right padding, no whitespace, unused bits zero.
Result<std::string> base64_decode(std::string_view text);

/// RFC 4648 5 without padding, as in JOSE (RFC 7515 2).
std::string base64url_encode(std::string_view bytes);
Result<std::string> base64url_decode(std::string_view text);

/// RFC 3986 2.1. `plus_is_space` for application/x-www-form-urlencoded queries.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space);
std::string percent_encode(std::string_view text);

/// CRC-32C (Castagnoli), continuing from `seed` (0 to start).
std::uint32_t crc32c(std::string_view bytes, std::uint32_t seed = 0);

}  // namespace roster
