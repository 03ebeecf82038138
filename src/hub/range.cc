#include "hub/range.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace roster::hub {
namespace {

/// Digits only; numbers beyond 64 bits are as good as the largest one.
std::optional<std::uint64_t> parse_position(std::string_view text) {
  if (text.empty() || !std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; })) {
    return std::nullopt;
  }
  std::uint64_t position = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), position);
  if (result.ec == std::errc::result_out_of_range) return UINT64_MAX;
  return position;
}

}  // namespace

ByteRange parse_range(std::string_view header, std::uint64_t size) {
  const ByteRange whole{.kind = ByteRange::Kind::kWhole, .first = 0, .size = size};
  const ByteRange unsatisfiable{.kind = ByteRange::Kind::kUnsatisfiable};
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit)) return whole;
  header.remove_prefix(kUnit.size());
  const auto dash = header.find('-');
  if (dash == std::string_view::npos) return whole;
  const std::string_view first_text = header.substr(0, dash);
  const std::string_view last_text = header.substr(dash + 1);
  const auto last = parse_position(last_text);
  if (!last && !last_text.empty()) return whole;
  if (first_text.empty()) {  // the last bytes
    if (!last) return whole;
    if (*last == 0 || size == 0) return unsatisfiable;
    const std::uint64_t length = std::min(*last, size);
    return {.kind = ByteRange::Kind::kPart, .first = size - length, .size = length};
  }
  const auto first = parse_position(first_text);
  if (!first || (last && *last < *first)) return whole;
  if (*first >= size) return unsatisfiable;
  const std::uint64_t end = last ? std::min(*last, size - 1) : size - 1;
  return {.kind = ByteRange::Kind::kPart, .first = *first, .size = end - *first + 1};
}

}  // namespace roster::hub
