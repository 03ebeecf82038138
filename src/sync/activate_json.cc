#include "sync/activate_json.h"

#include <utility>

#include "base/encoding.h"
#include "base/json.h"
#include "base/unicode.h"

namespace roster::sync {
namespace {

constexpr std::string_view kApiKeyPrefix = "pwt_";
constexpr std::size_t kTextBytesMax = 1024;
/// Of one answer: half a million members of a group.
constexpr json::Limits kLimits{
    .bytes_max = kActivateBodyBytesMax, .depth_max = 16, .values_max = 2'000'000};

std::unexpected<Error> unexpected_answer(std::string_view what) {
  return fail(Code::kDataLoss, "not what ACTIVATE's API answers: " + std::string(what));
}

Result<json::value> parse(std::string_view body) {
  auto parsed = json::parse(body, kLimits);
  if (!parsed) return unexpected_answer(parsed.error().message);
  return parsed;
}

/// Lists are null when they are empty.
Result<json::array> list_of(const json::value& value, std::string_view what) {
  if (value.is_null()) return json::array();
  if (!value.is_array()) return unexpected_answer(std::string(what) + " is no list");
  return value.get_array();
}

bool is_text(std::string_view text) {
  return !text.empty() && text.size() <= kTextBytesMax && !has_control_characters(text);
}

std::string text_of(const json::object& object, std::string_view name) {
  const auto text = json::find_string(object, name);
  return text && is_text(*text) ? std::string(*text) : std::string();
}

std::optional<std::string> told(const json::object& object, std::string_view name) {
  std::string text = text_of(object, name);
  if (text.empty()) return std::nullopt;
  return text;
}

Result<ActivateUser> user_of(const json::value& value) {
  if (!value.is_object()) return unexpected_answer("a user is no object");
  const json::object& object = value.get_object();
  ActivateUser user{.id = text_of(object, "id"),
                    .username = text_of(object, "username"),
                    .active = json::find_bool(object, "active"),
                    .email = told(object, "email"),
                    .name = told(object, "name")};
  if (user.id.empty() || user.username.empty()) {
    return unexpected_answer("a user without id or username");
  }
  return user;
}

}  // namespace

Result<ActivatePage<ActivateUser>> parse_activate_users(std::string_view body) {
  ASSIGN_OR_RETURN(const json::value value, parse(body));
  if (!value.is_object()) return unexpected_answer("no object with users");
  const json::object& object = value.get_object();
  const json::value* users = json::find(object, "users");
  const auto total = json::find_int(object, "total");
  if (users == nullptr || !total || *total < 0) return unexpected_answer("no users or no total");
  ASSIGN_OR_RETURN(const json::array list, list_of(*users, "users"));
  ActivatePage<ActivateUser> page{.items = {}, .total = total};
  page.items.reserve(list.size());
  for (const json::value& item : list) {
    ASSIGN_OR_RETURN(ActivateUser user, user_of(item));
    page.items.push_back(std::move(user));
  }
  return page;
}

Result<ActivatePage<ActivateGroup>> parse_activate_groups(std::string_view body) {
  ASSIGN_OR_RETURN(const json::value value, parse(body));
  ASSIGN_OR_RETURN(const json::array list, list_of(value, "the answer"));
  ActivatePage<ActivateGroup> page;
  for (const json::value& item : list) {
    if (!item.is_object()) return unexpected_answer("a group is no object");
    ActivateGroup group{.id = text_of(item.get_object(), "id"),
                        .name = text_of(item.get_object(), "name"),
                        .members = json::find_int(item.get_object(), "members").value_or(0)};
    if (group.name.empty()) return unexpected_answer("a group without name");
    if (group.id.empty()) group.id = group.name;
    page.items.push_back(std::move(group));
  }
  return page;
}

Result<std::vector<ActivateMember>> parse_activate_members(std::string_view body) {
  ASSIGN_OR_RETURN(const json::value value, parse(body));
  ASSIGN_OR_RETURN(const json::array list, list_of(value, "the answer"));
  std::vector<ActivateMember> members;
  members.reserve(list.size());
  for (const json::value& item : list) {
    if (!item.is_object()) return unexpected_answer("a member is no object");
    const json::object& object = item.get_object();
    ActivateMember member{.id = text_of(object, "id"),
                          .username = text_of(object, "username"),
                          .email = text_of(object, "email")};
    if (member.username.empty()) return unexpected_answer("a member without username");
    members.push_back(std::move(member));
  }
  return members;
}

Result<std::string> parse_activate_organization(std::string_view body) {
  ASSIGN_OR_RETURN(const json::value value, parse(body));
  if (!value.is_string() || !is_text(json::view(value.get_string()))) {
    return unexpected_answer("no name of an organization");
  }
  return std::string(json::view(value.get_string()));
}

bool is_activate_api_key(std::string_view credential) {
  return credential.starts_with(kApiKeyPrefix);
}

Result<std::string> activate_host(const Secret& credential) {
  const std::string_view text = credential.expose();
  const auto none = fail(Code::kInvalidArgument,
                         "the credential names no platform: it is neither an API key (pwt_...) nor "
                         "a token with a platform_host; set the platform's URL");
  std::string host;
  if (is_activate_api_key(text)) {
    const std::string_view rest = text.substr(kApiKeyPrefix.size());
    const std::size_t dot = rest.find('.');
    if (dot == std::string_view::npos) return none;
    std::string_view encoded = rest.substr(0, dot);
    auto decoded = base64url_decode(encoded);
    if (!decoded) decoded = base64_decode(encoded);
    if (!decoded) return none;
    host = std::move(*decoded);
  } else {
    const std::size_t first = text.find('.');
    const std::size_t second = first == std::string_view::npos ? first : text.find('.', first + 1);
    if (second == std::string_view::npos) return none;
    const auto payload = base64url_decode(text.substr(first + 1, second - first - 1));
    if (!payload) return none;
    const auto claims = json::parse(*payload);
    if (!claims || !claims->is_object()) return none;
    host = text_of(claims->get_object(), "platform_host");
  }
  constexpr std::string_view kHttps = "https://";
  if (host.starts_with(kHttps)) host.erase(0, kHttps.size());
  constexpr std::string_view kHostCharacters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-:[]";
  if (host.empty() || host.find_first_not_of(kHostCharacters) != std::string::npos) return none;
  return host;
}

}  // namespace roster::sync
