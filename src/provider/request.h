#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "directory/directory.h"
#include "http/message.h"
#include "provider/scim_service.h"
#include "scim/list.h"
#include "scim/projection.h"

namespace roster::provider {

inline constexpr std::string_view kScimType = "application/scim+json";

/// What a path below the SCIM root names.
struct Target {
  std::string org;
  std::string collection;         // "Users", "" for the root
  std::optional<std::string> id;  // also ".search"
};

/// kNotFound for every path that is none of SCIM's.
Result<Target> parse_target(std::string_view path);

/// One authenticated request on one organization.
struct Call {
  const http::Request& request;
  http::Query query;
  directory::Actor actor;
  directory::Org org;
  std::string base;  // URL in front of "/Users"
  std::int64_t scanned_rows_max = 0;
  std::size_t page_members_max = 0;
  Timestamp now{};

  /// A token that only reads: answers take the form that readers on clusters expect.
  /// The token as presented (authenticate() has judged it).
  std::string_view bearer() const;
  bool reader() const { return actor.scope == directory::Scope::kRead; }
  /// Whether people who may not log in are left out.
  bool only_active() const;
  /// Resources on a page when the client does not say.
  std::int64_t page_default() const { return reader() ? scim::kPageMax : scim::kPageDefault; }
  bool privileged() const {
    return actor.scope == directory::Scope::kAdmin || actor.scope == directory::Scope::kOperator;
  }
};

/// Who asks. kUnauthenticated without or with a bad token, kPermissionDenied for a scope that has
/// nothing to do here.
Result<directory::Actor> authenticate(directory::Directory& directory, const http::Request& request,
                                      const http::Context& context);

/// The organization that `actor` may act in. kNotFound for all others, whether they exist or not.
Result<directory::Org> find_org(directory::Directory& directory, const directory::Actor& actor,
                                std::string_view slug);

/// "https://host" for links. kInvalidArgument when the Host is not one of ours.
Result<std::string> origin(const ScimOptions& options, const http::Request& request,
                           const http::Context& context);

/// The body as JSON. kInvalidArgument (invalidSyntax), kTooLarge beyond `bytes_max`.
Result<json::value> parse_body(const http::Request& request, std::size_t bytes_max);

/// Whether the body says it is JSON (RFC 7644 3.1), whatever the charset.
bool has_json_type(const http::Request& request);

/// Attributes that the client wants; readers get the CoreWeave extension on request.
Result<scim::Projection> parse_projection(const Call& call, const scim::ResourceType& type,
                                          std::optional<std::string_view> attributes,
                                          std::optional<std::string_view> excluded);
/// As the query says.
Result<scim::Projection> parse_projection(const Call& call, const scim::ResourceType& type);

/// W/"7"
std::string entity_tag(std::int64_t version);
/// The organization's position, and the last moment at which the clock alone changed what readers
/// are shown: the tag of all that more than one resource is part of.
Result<std::string> state_tag(directory::Directory& directory, const Call& call);
/// What If-Match and If-None-Match ask of a write (RFC 9110 13.1).
directory::IfVersion if_version(const http::Request& request);
/// Whether If-None-Match names `tag` (weak comparison, RFC 9110 8.8.3.2).
bool if_none_match(const http::Request& request, std::string_view tag);

/// 304
http::Response not_modified(std::string_view tag);
http::Response json_answer(int status, const json::object& body);
http::Response error_answer(int status, std::string_view keyword, std::string_view detail);
/// RFC 7644 3.12, by the table of scim::http_status. What we broke ourselves is logged, not told.
json::object error_object(const Error& error);
http::Response error_answer(const Error& error);

}  // namespace roster::provider
