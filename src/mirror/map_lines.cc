#include "mirror/map_lines.h"

#include <charconv>
#include <utility>
#include <vector>

#include "base/text.h"
#include "posix/shell.h"

namespace roster::mirror {
namespace {

constexpr std::size_t kShadowFields = 9;
constexpr std::size_t kShadowExpire = 7;
constexpr std::string_view kExpired = "1";

std::string joined(const std::vector<std::string_view>& parts, char separator) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += separator;
    text += parts[i];
  }
  return text;
}

std::optional<std::string> without_members(std::string_view line, const NameSet& denied) {
  const std::size_t at = line.rfind(':') + 1;
  std::vector<std::string_view> members = split(line.substr(at), ',');
  if (std::erase_if(members, [&denied](auto name) { return denied.contains(name); }) == 0) {
    return std::nullopt;
  }
  return std::string(line.substr(0, at)) + joined(members, ',');
}

}  // namespace

std::string_view name_in(std::string_view line) {
  const std::size_t end = line.find(':');
  return end == std::string_view::npos ? std::string_view() : line.substr(0, end);
}

std::uint32_t number_in(std::string_view line) {
  for (int field = 0; field < 2; ++field) {
    const std::size_t end = line.find(':');
    if (end == std::string_view::npos) return 0;
    line.remove_prefix(end + 1);
  }
  line = line.substr(0, line.find(':'));
  std::uint32_t number = 0;
  const auto [stop, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  return error == std::errc() && stop == line.data() + line.size() ? number : 0;
}

bool is_open(Map map, std::string_view line) {
  switch (map) {
    case Map::kPasswd:
      return line.substr(line.rfind(':') + 1) != posix::kNologinShell;
    case Map::kShadow: {
      const std::vector<std::string_view> fields = split(line, ':');
      return fields.size() <= kShadowExpire || fields[kShadowExpire] != kExpired;
    }
    case Map::kSshKey:
      return name_in(line).size() + 1 < line.size();
    case Map::kGroup:
      break;
  }
  return true;
}

std::optional<std::string> without_access(Map map, std::string_view line, const NameSet& denied) {
  const std::string_view name = name_in(line);
  if (map == Map::kGroup) return without_members(line, denied);
  if (name.empty() || !denied.contains(name) || !is_open(map, line)) return std::nullopt;
  if (map == Map::kSshKey) return std::string(name) + ':';
  if (map == Map::kPasswd) {
    return std::string(line.substr(0, line.rfind(':') + 1)).append(posix::kNologinShell);
  }
  std::vector<std::string_view> fields = split(line, ':');
  if (fields.size() != kShadowFields) return std::nullopt;  // no entry: it lets nobody in
  fields[kShadowExpire] = kExpired;
  return joined(fields, ':');
}

}  // namespace roster::mirror
