#include "kubernetes/answers.h"

#include <algorithm>
#include <utility>

#include "base/encoding.h"
#include "base/json.h"

namespace roster::kubernetes {
namespace {

constexpr std::size_t kTextBytesMax = 200;
constexpr std::size_t kCausesMax = 8;
constexpr json::Limits kLimits{
    .bytes_max = kAnswerBytesMax, .depth_max = 64, .values_max = 100'000};

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

/// A line that cannot begin another one, whatever the server sent.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, kTextBytesMax));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7E) c = '?';
  }
  return out;
}

std::string text_of(const json::object& object, std::string_view name) {
  return printable(json::find_string(object, name).value_or(""));
}

/// The manager in `conflict with "kubectl" using v1 at 2026-...`.
std::string manager_in(std::string_view message) {
  const std::size_t open = message.find('"');
  const std::size_t close = open == std::string_view::npos ? open : message.find('"', open + 1);
  if (close == std::string_view::npos || close == open + 1) return "another manager";
  return printable(message.substr(open + 1, close - open - 1));
}

void read_causes(const json::object& details, ApiStatus& status) {
  const json::array* causes = json::find_array(details, "causes");
  if (causes == nullptr) return;
  for (const json::value& item : *causes) {
    const json::object* cause = item.if_object();
    if (cause == nullptr) continue;
    if (json::find_string(*cause, "reason") == "FieldManagerConflict") {
      if (status.conflicts.size() == kCausesMax) continue;
      status.conflicts.push_back({manager_in(json::find_string(*cause, "message").value_or("")),
                                  text_of(*cause, "field")});
    } else if (status.fields.size() < kCausesMax) {
      status.fields.push_back(text_of(*cause, "field") + " (" + text_of(*cause, "reason") + ")");
    }
  }
}

/// Of padded base64, without decoding it.
std::size_t decoded_size(std::string_view base64) {
  const std::size_t padding =
      base64.size() - std::min(base64.size(), base64.find_last_not_of('=') + 1);
  const std::size_t whole = base64.size() / 4 * 3;
  return whole - std::min(whole, padding);
}

Result<void> read_data(const json::object& data, std::string_view key, SecretState& state) {
  for (const auto& [name, item] : data) {
    const json::string* text = item.if_string();
    if (text == nullptr) return fail(Code::kInvalidArgument, "a value in its data is no string");
    if (name != key) {
      state.other_bytes += decoded_size(json::view(*text));
      continue;
    }
    auto decoded = base64_decode(json::view(*text));
    if (!decoded) return fail(Code::kInvalidArgument, "a value in its data is not base64");
    state.value = std::move(*decoded);
  }
  return {};
}

}  // namespace

bool is_label(std::string_view text) {
  return !text.empty() && text.size() <= 63 && is_lower_or_digit(text.front()) &&
         is_lower_or_digit(text.back()) &&
         std::ranges::all_of(text, [](char c) { return is_lower_or_digit(c) || c == '-'; });
}

bool is_subdomain(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  while (true) {
    const std::size_t dot = text.find('.');
    const std::string_view part = text.substr(0, dot);
    // Parts of a subdomain have no limit of their own here.
    if (part.empty() || !is_lower_or_digit(part.front()) || !is_lower_or_digit(part.back()) ||
        !std::ranges::all_of(part, [](char c) { return is_lower_or_digit(c) || c == '-'; })) {
      return false;
    }
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

bool is_data_key(std::string_view text) {
  return !text.empty() && text.size() <= 253 && text != "." && !text.starts_with("..") &&
         std::ranges::all_of(text, [](char c) {
           return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
                  c == '.';
         });
}

Result<SecretState> parse_secret(std::string_view body, std::string_view name,
                                 std::string_view key) {
  ASSIGN_OR_RETURN(const json::value document, json::parse(body, kLimits));
  const json::object* object = document.if_object();
  if (object == nullptr || json::find_string(*object, "kind") != "Secret" ||
      json::find_string(*object, "apiVersion") != "v1") {
    return fail(Code::kInvalidArgument, "it is not a Secret of v1");
  }
  const json::object* metadata = json::find_object(*object, "metadata");
  if (metadata == nullptr || json::find_string(*metadata, "name") != name) {
    return fail(Code::kInvalidArgument, "it is not the Secret that was asked for");
  }
  SecretState state;
  state.resource_version = json::find_string(*metadata, "resourceVersion").value_or("");
  if (state.resource_version.empty() || state.resource_version.size() > kTextBytesMax) {
    return fail(Code::kInvalidArgument, "it has no resourceVersion");
  }
  state.immutable = json::find_bool(*object, "immutable").value_or(false);
  const json::value* data = json::find(*object, "data");
  if (data == nullptr || data->is_null()) return state;
  if (!data->is_object()) return fail(Code::kInvalidArgument, "its data is no object");
  RETURN_IF_ERROR(read_data(data->get_object(), key, state));
  return state;
}

ApiStatus parse_status(std::string_view body) {
  ApiStatus status;
  const auto document = json::parse(body, kLimits);
  const json::object* object = document ? document->if_object() : nullptr;
  if (object == nullptr || json::find_string(*object, "kind") != "Status") return status;
  status.reason = text_of(*object, "reason");
  status.message = text_of(*object, "message");
  const json::object* details = json::find_object(*object, "details");
  if (details == nullptr) return status;
  status.kind = text_of(*details, "kind");
  if (const auto seconds = json::find_int(*details, "retryAfterSeconds");
      seconds && *seconds > 0 && *seconds <= 86'400) {
    status.retry_after = std::chrono::seconds(*seconds);
  }
  read_causes(*details, status);
  return status;
}

std::string apply_body(std::string_view namespace_name, std::string_view name, std::string_view key,
                       std::string_view value, std::string_view resource_version) {
  json::object metadata{{"name", name}, {"namespace", namespace_name}};
  if (!resource_version.empty()) metadata["resourceVersion"] = resource_version;
  json::object data;
  data[key] = base64_encode(value);
  return json::serialize(json::object{{"apiVersion", "v1"},
                                      {"kind", "Secret"},
                                      {"metadata", std::move(metadata)},
                                      {"data", std::move(data)}});
}

}  // namespace roster::kubernetes
