#include "feed/enrollment.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "base/unicode.h"

namespace roster::feed {
namespace {

constexpr std::size_t kNodeNameBytesMax = 253;  // RFC 1035 3.1, without the last dot
constexpr std::size_t kLabelBytesMax = 63;
constexpr std::size_t kVersionBytesMax = 64;
constexpr std::size_t kCredentialBytesMax = 512;
constexpr std::size_t kAnswerBytesMax = 64 << 10;

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

std::unexpected<Error> bad(std::string_view member, std::string_view why) {
  return fail(Code::kInvalidArgument, "member \"" + std::string(member) + "\" " + std::string(why));
}

Result<std::string> text_of(const json::object& o, std::string_view name) {
  const auto text = json::find_string(o, name);
  if (!text) return bad(name, "is missing or not a string");
  return std::string(*text);
}

/// Empty when absent.
Result<std::string> optional_text(const json::object& o, std::string_view name) {
  if (json::find(o, name) == nullptr) return std::string();
  return text_of(o, name);
}

Result<std::string> label_of(const json::object& o, std::string_view name) {
  ASSIGN_OR_RETURN(std::string text, text_of(o, name));
  if (!is_label(text)) return bad(name, "is not a name of [a-z0-9_-], at most 63 bytes");
  return text;
}

Result<Timestamp> time_of(const json::object& o, std::string_view name) {
  ASSIGN_OR_RETURN(const std::string text, text_of(o, name));
  auto parsed = parse_rfc3339(text);
  if (!parsed) return bad(name, "is not an RFC 3339 time");
  return *parsed;
}

Result<Secret> credential_of(const json::object& o) {
  ASSIGN_OR_RETURN(std::string text, text_of(o, "credential"));
  const bool plain = std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
  if (text.empty() || text.size() > kCredentialBytesMax || !plain) {
    return bad("credential", "is not a credential");
  }
  return Secret(std::move(text));
}

Result<json::object> object_of(std::string_view body) {
  ASSIGN_OR_RETURN(json::value parsed,
                   json::parse(body, {.bytes_max = kAnswerBytesMax, .depth_max = 8}));
  if (!parsed.is_object()) return fail(Code::kInvalidArgument, "not a JSON object");
  return std::move(parsed.get_object());
}

}  // namespace

bool is_node_name(std::string_view text) {
  return !text.empty() && text.size() <= kNodeNameBytesMax && is_lower_or_digit(text.front()) &&
         std::ranges::all_of(text,
                             [](char c) { return is_lower_or_digit(c) || c == '.' || c == '-'; });
}

bool is_org_slug(std::string_view text) {
  return !text.empty() && text.size() <= kLabelBytesMax &&
         std::ranges::all_of(text, [](char c) { return is_lower_or_digit(c) || c == '-'; });
}

bool is_label(std::string_view text) {
  return !text.empty() && text.size() <= kLabelBytesMax && std::ranges::all_of(text, [](char c) {
    return is_lower_or_digit(c) || c == '_' || c == '-';
  });
}

std::string EnrollRequest::to_json() const {
  json::object o;
  if (!name.empty()) o["name"] = name;
  if (!role.empty()) o["role"] = role;
  o["agent_version"] = agent_version;
  o["highest_id"] = highest_id;
  if (!credential.empty()) o["credential"] = credential.expose();
  return json::serialize(o);
}

Result<EnrollRequest> EnrollRequest::parse(std::string_view body, bool renewal) {
  ASSIGN_OR_RETURN(const json::object o, object_of(body));
  EnrollRequest out;
  ASSIGN_OR_RETURN(out.name, optional_text(o, "name"));
  if ((!renewal || !out.name.empty()) && !is_node_name(out.name)) {
    return bad("name", "is not a host name of [a-z0-9.-], at most 253 bytes");
  }
  ASSIGN_OR_RETURN(out.role, optional_text(o, "role"));
  if (!out.role.empty() && !is_label(out.role)) return bad("role", "is not a role's name");
  ASSIGN_OR_RETURN(out.agent_version, optional_text(o, "agent_version"));
  if (out.agent_version.size() > kVersionBytesMax || has_control_characters(out.agent_version)) {
    return bad("agent_version", "is too long or has control characters");
  }
  if (json::find(o, "highest_id") != nullptr) {
    const auto id = json::find_int(o, "highest_id");
    if (!id || *id < 0 || *id > 2147483647) return bad("highest_id", "is not a POSIX id");
    out.highest_id = static_cast<std::uint32_t>(*id);
  }
  if (!renewal && json::find(o, "credential") != nullptr) {
    ASSIGN_OR_RETURN(out.credential, credential_of(o));
  }
  return out;
}

std::string Enrollment::to_json() const {
  json::object o;
  o["node_id"] = node_id;
  o["credential"] = credential.expose();
  o["org"] = org;
  o["cluster"] = cluster;
  o["view"] = view;
  o["role"] = role;
  o["issued"] = format_rfc3339(issued);
  o["expires"] = format_rfc3339(expires);
  if (!ca_pem.empty()) o["ca_pem"] = ca_pem;
  return json::serialize(o);
}

Result<Enrollment> Enrollment::parse(std::string_view body) {
  ASSIGN_OR_RETURN(const json::object o, object_of(body));
  Enrollment out;
  ASSIGN_OR_RETURN(out.node_id, text_of(o, "node_id"));
  if (!is_node_name(out.node_id)) return bad("node_id", "is not an identifier");
  ASSIGN_OR_RETURN(out.credential, credential_of(o));
  ASSIGN_OR_RETURN(out.org, text_of(o, "org"));
  if (!is_org_slug(out.org)) return bad("org", "is not an organization's slug");
  ASSIGN_OR_RETURN(out.cluster, optional_text(o, "cluster"));
  if (!out.cluster.empty() && !is_label(out.cluster)) return bad("cluster", "is not a name");
  ASSIGN_OR_RETURN(out.view, label_of(o, "view"));
  ASSIGN_OR_RETURN(out.role, label_of(o, "role"));
  ASSIGN_OR_RETURN(out.issued, time_of(o, "issued"));
  ASSIGN_OR_RETURN(out.expires, time_of(o, "expires"));
  if (out.expires <= out.issued) return bad("expires", "is not after \"issued\"");
  ASSIGN_OR_RETURN(out.ca_pem, optional_text(o, "ca_pem"));
  return out;
}

}  // namespace roster::feed
