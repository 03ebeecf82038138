#include "provider/request.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "base/unicode.h"
#include "http/respond.h"
#include "http/router.h"
#include "scim/error.h"
#include "scim/schema.h"

namespace roster::provider {
namespace {

using directory::Scope;

/// RFC 6750 2.1; empty when there is none.
std::string_view bearer_of(const http::Request& request) {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view header = request.headers.get("Authorization");
  if (!ascii_iequals(header.substr(0, kBearer.size()), kBearer)) return {};
  return trim(header.substr(kBearer.size()));
}

/// The tag without its weakness, in quotes.
std::string_view opaque(std::string_view tag) {
  tag = trim(tag);
  if (tag.starts_with("W/")) tag.remove_prefix(2);
  return tag;
}

/// The elements of a list of entity tags (RFC 9110 8.8.3): a comma in quotes is part of a tag.
std::vector<std::string_view> split_tags(std::string_view list) {
  std::vector<std::string_view> tags;
  std::size_t begin = 0;
  bool quoted = false;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i < list.size() && list[i] == '"') quoted = !quoted;
    if (i < list.size() && (list[i] != ',' || quoted)) continue;
    if (const auto tag = trim(list.substr(begin, i - begin)); !tag.empty()) tags.push_back(tag);
    begin = i + 1;
  }
  return tags;
}

/// The versions that a list of tags means; what is none of ours means none.
std::vector<std::int64_t> versions_in(std::string_view list) {
  std::vector<std::int64_t> versions;
  for (const std::string_view each : split_tags(list)) {
    std::string_view tag = opaque(each);
    if (tag.size() < 3 || tag.front() != '"' || tag.back() != '"') continue;
    tag = tag.substr(1, tag.size() - 2);
    std::int64_t version = 0;
    const char* end = tag.data() + tag.size();
    const auto [stop, error] = std::from_chars(tag.data(), end, version);
    if (error == std::errc() && stop == end) versions.push_back(version);
  }
  return versions;
}

}  // namespace

Result<Target> parse_target(std::string_view path) {
  const auto nothing = [] { return fail(Code::kNotFound, "there is no such endpoint"); };
  const auto segments = http::decode_path(path);
  if (!segments) return nothing();
  const std::vector<std::string>& s = *segments;
  Target target;
  std::size_t at = 0;
  if (s.size() >= 5 && s[0] == "api" && s[1] == "organizations" && s[3] == "scim" && s[4] == "v2") {
    target.org = s[2];
    at = 5;
  } else if (s.size() >= 3 && s[0] == "scim" && s[1] == "v2") {
    target.org = s[2];
    at = 3;
  } else {
    return nothing();
  }
  if (s.size() > at + 2) return nothing();
  if (s.size() > at) target.collection = s[at];
  if (s.size() > at + 1) target.id = s[at + 1];
  return target;
}

std::string_view Call::bearer() const { return bearer_of(request); }

bool Call::only_active() const {
  const auto value = query.get("excludeInactiveUsers");
  return (value && ascii_iequals(*value, "true")) || actor.active_only ||
         (reader() && org.settings.leaver_policy == directory::LeaverPolicy::kHide);
}

Result<directory::Actor> authenticate(directory::Directory& directory, const http::Request& request,
                                      const http::Context& context) {
  const std::string_view bearer = bearer_of(request);
  if (bearer.empty()) return fail(Code::kUnauthenticated, "a bearer token is needed");
  ASSIGN_OR_RETURN(directory::Actor actor, directory.authenticate(bearer));
  switch (actor.scope) {
    case Scope::kScim:
    case Scope::kRead:
    case Scope::kAdmin:
    case Scope::kOperator:
    case Scope::kUser:
      break;
    case Scope::kJoin:
      return fail(Code::kPermissionDenied, "this token is not for SCIM");
  }
  actor.remote = context.remote;
  actor.request_id = context.request_id;
  return actor;
}

Result<directory::Org> find_org(directory::Directory& directory, const directory::Actor& actor,
                                std::string_view slug) {
  const auto nothing = [] { return fail(Code::kNotFound, "there is no such organization"); };
  auto org = directory.find_org(slug);
  if (!org) {
    const Code code = org.error().code;
    if (code == Code::kNotFound || code == Code::kInvalidArgument) return nothing();
    return std::unexpected(std::move(org).error());
  }
  if (actor.org && *actor.org != org->n) return nothing();
  if (!actor.org && actor.scope != Scope::kOperator) return nothing();
  return org;
}

Result<std::string> origin(const ScimOptions& options, const http::Request& request,
                           const http::Context& context) {
  if (!options.public_url.empty()) return options.public_url;
  const std::string_view host = request.headers.get("Host");
  const bool known = std::ranges::any_of(options.allowed_hosts, [host](const std::string& allowed) {
    return ascii_iequals(allowed, host);
  });
  if (!known) {
    return fail(Code::kInvalidArgument,
                "this Host is not known to the server: set its public URL or allowed hosts");
  }
  return std::string(context.tls ? "https://" : "http://") + std::string(host);
}

Result<json::value> parse_body(const http::Request& request, std::size_t bytes_max) {
  auto body = json::parse(request.body, {.bytes_max = bytes_max});
  if (!body && body.error().code == Code::kInvalidArgument) {
    body.error().keyword = scim::kInvalidSyntax;
  }
  return body;
}

bool has_json_type(const http::Request& request) {
  const std::string_view header = request.headers.get("Content-Type");
  const std::string_view type = trim(header.substr(0, header.find(';')));
  return ascii_iequals(type, kScimType) || ascii_iequals(type, "application/json");
}

Result<scim::Projection> parse_projection(const Call& call, const scim::ResourceType& type,
                                          std::optional<std::string_view> attributes,
                                          std::optional<std::string_view> excluded) {
  scim::Projection::Options options;
  if (call.reader()) {
    options.on_request_extension = scim::kCoreWeaveUserUrn;
    options.additive_urns = true;
  }
  return scim::Projection::parse(type, attributes, excluded, options);
}

Result<scim::Projection> parse_projection(const Call& call, const scim::ResourceType& type) {
  return parse_projection(call, type, call.query.get("attributes"),
                          call.query.get("excludedAttributes"));
}

std::string entity_tag(std::int64_t version) { return "W/\"" + std::to_string(version) + "\""; }

Result<std::string> state_tag(directory::Directory& directory, const Call& call) {
  std::string tag = "W/\"" + call.org.epoch + "-" + std::to_string(call.org.seq.value);
  if (call.reader() || call.only_active()) {
    ASSIGN_OR_RETURN(const auto moment, directory.last_moment(call.org.n, call.now));
    if (moment) tag += "-" + std::to_string(to_millis(*moment));
  }
  return tag + '"';
}

directory::IfVersion if_version(const http::Request& request) {
  directory::IfVersion condition;
  const std::string_view match = trim(request.headers.get("If-Match"));
  if (!match.empty() && match != "*") {
    condition = directory::IfVersion::one_of(versions_in(match));
  }
  const std::string_view none = trim(request.headers.get("If-None-Match"));
  if (none == "*") return directory::IfVersion::one_of({});
  condition.exclude(versions_in(none));
  return condition;
}

bool if_none_match(const http::Request& request, std::string_view tag) {
  const std::string_view header = trim(request.headers.get("If-None-Match"));
  return header == "*" || std::ranges::any_of(split_tags(header), [tag](std::string_view each) {
           return opaque(each) == opaque(tag);
         });
}

http::Response not_modified(std::string_view tag) {
  http::Response response{.status = 304, .headers = {}, .body = {}};
  response.headers.set("ETag", std::string(tag));
  return response;
}

http::Response json_answer(int status, const json::object& body) {
  return http::json_response(status, body, kScimType);
}

namespace {

http::Response error_answer(int status, const json::object& body) {
  http::Response response = json_answer(status, body);
  if (status == 401) response.headers.set("WWW-Authenticate", "Bearer realm=\"roster\"");
  if (status == 503) response.headers.set("Retry-After", "1");
  return response;
}

}  // namespace

http::Response error_answer(int status, std::string_view keyword, std::string_view detail) {
  return error_answer(status, scim::error_body(status, keyword, detail));
}

json::object error_object(const Error& error) {
  const int status = scim::http_status(error);
  if (status == 500) {
    log::error("SCIM request failed", {{"code", code_name(error.code)}, {"error", error.message}});
    return scim::error_body(status, "", "the server failed; its log has the reason");
  }
  std::string_view keyword = error.keyword;
  if (keyword.empty() && status == 400) keyword = scim::kInvalidValue;
  if (keyword.empty() && error.code == Code::kAlreadyExists) keyword = scim::kUniquenessTaken;
  return scim::error_body(status, keyword, error.message);
}

http::Response error_answer(const Error& error) {
  return error_answer(scim::http_status(error), error_object(error));
}

}  // namespace roster::provider
