#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace roster {

/// `text` without the characters of `blanks` at both ends.
constexpr std::string_view trim(std::string_view text, std::string_view blanks = " \t") {
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// What stands between separators; one more than there are of them, so one for an empty text.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

/// Exactly as many parts as there is room for; false otherwise.
inline bool split_into(std::string_view text, char separator, std::span<std::string_view> parts) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t end = text.find(separator);
    const bool last = i + 1 == parts.size();
    if (last != (end == std::string_view::npos)) return false;
    parts[i] = text.substr(0, end);
    text.remove_prefix(last ? text.size() : end + 1);
  }
  return true;
}

/// All of `text` as a decimal number; nothing when it is none or does not fit.
template <std::integral Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return {};
  return number;
}

/// Gives `visit` each line without its newline; nothing for an empty text.
template <typename Visit>
void each_line(std::string_view text, const Visit& visit) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    visit(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace roster
