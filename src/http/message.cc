#include "http/message.h"

#include <algorithm>
#include <ctime>

#include "base/encoding.h"
#include "base/text.h"
#include "base/unicode.h"

namespace roster::http {
namespace {

constexpr std::size_t kQueryItemsMax = 100;

Result<std::string> decode_item(std::string_view text) {
  ASSIGN_OR_RETURN(std::string decoded, percent_decode(text, /*plus_is_space=*/true));
  if (decoded.contains('\0') || !is_valid_utf8(decoded)) {
    return fail(Code::kInvalidArgument, "query parameter is not text in UTF-8");
  }
  return decoded;
}

}  // namespace

void Headers::set(std::string_view name, std::string_view value) {
  std::erase_if(fields_, [name](const auto& field) { return ascii_iequals(field.first, name); });
  add(name, value);
}

void Headers::add(std::string_view name, std::string_view value) {
  fields_.emplace_back(name, value);
}

std::string_view Headers::get(std::string_view name) const {
  for (const auto& [field, value] : fields_) {
    if (ascii_iequals(field, name)) return value;
  }
  return {};
}

bool Headers::has(std::string_view name) const {
  return std::ranges::any_of(
      fields_, [name](const auto& field) { return ascii_iequals(field.first, name); });
}

Result<Query> Query::parse(std::string_view text) {
  Query query;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('&'), text.size());
    const std::string_view item = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (item.empty()) continue;
    if (query.items_.size() == kQueryItemsMax) {
      return fail(Code::kInvalidArgument, "more than 100 query parameters");
    }
    const std::size_t equals = std::min(item.find('='), item.size());
    ASSIGN_OR_RETURN(std::string name, decode_item(item.substr(0, equals)));
    ASSIGN_OR_RETURN(std::string value,
                     decode_item(item.substr(std::min(equals + 1, item.size()))));
    query.items_.emplace_back(std::move(name), std::move(value));
  }
  return query;
}

std::optional<std::string_view> Query::get(std::string_view name) const {
  for (const auto& [key, value] : items_) {
    if (key == name) return value;
  }
  return std::nullopt;
}

std::optional<Timestamp> parse_date(std::string_view text) {
  const std::string terminated(text);
  std::tm parts{};
  // Programs of ours never leave the C locale, whose names of days and months these are.
  const char* end = strptime(terminated.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end != terminated.c_str() + terminated.size() || terminated.empty()) return std::nullopt;
  const std::time_t seconds = timegm(&parts);
  if (seconds <= 0) return std::nullopt;
  return from_millis(std::int64_t{seconds} * 1000);
}

std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, Timestamp now) {
  constexpr std::chrono::milliseconds kDay{86'400'000};
  if (const auto seconds = parse_number<std::uint32_t>(text)) {
    return std::min<std::chrono::milliseconds>(kDay, std::chrono::seconds(*seconds));
  }
  const auto date = parse_date(text);
  if (!date) return std::nullopt;
  return std::clamp(*date - now, std::chrono::milliseconds(0), kDay);
}

}  // namespace roster::http
