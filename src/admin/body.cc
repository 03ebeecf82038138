#include "admin/body.h"

#include <fmt/format.h>

#include "base/unicode.h"

namespace roster::admin {

std::string body_text(const Call& call, std::string_view name) {
  return std::string(json::find_string(call.body, name).value_or(""));
}

std::vector<std::string> body_list(const Call& call, std::string_view name) {
  std::vector<std::string> out;
  if (const json::array* items = json::find_array(call.body, name)) {
    for (const json::value& item : *items) out.emplace_back(json::view(item.get_string()));
  }
  return out;
}

Result<void> check_texts(const Call& call, std::initializer_list<const char*> names) {
  constexpr std::size_t kBytesMax = 1024;
  for (const char* name : names) {
    const std::string text = body_text(call, name);
    if (text.size() > kBytesMax) {
      return fail(Code::kInvalidArgument, fmt::format("{}: longer than {} bytes", name, kBytesMax));
    }
    if (has_control_characters(text)) {
      return fail(Code::kInvalidArgument, fmt::format("{}: it has control characters", name));
    }
  }
  return {};
}

Result<std::optional<Timestamp>> body_time(const Call& call, std::string_view name) {
  const auto text = json::find_string(call.body, name);
  if (!text) return std::nullopt;
  auto time = parse_rfc3339(*text);
  if (!time) return fail_in(name, time.error());
  return *time;
}

}  // namespace roster::admin
