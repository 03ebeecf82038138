#include "provider/scim_service.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/unicode.h"
#include "provider/bulk.h"
#include "provider/listing.h"
#include "provider/render.h"
#include "provider/request.h"
#include "provider/resources.h"
#include "provider/search.h"
#include "scim/discovery.h"
#include "scim/error.h"
#include "scim/schema.h"

namespace roster::provider {
namespace {

using directory::Directory;

constexpr std::string_view kRoot = "/api/organizations/{org}/scim/v2";

http::Response method_not_allowed(std::string_view allowed) {
  http::Response response =
      error_answer(405, "", "this endpoint takes only " + std::string(allowed));
  response.headers.set("Allow", allowed);
  return response;
}

/// What a target is, for choosing methods and for metrics.
enum class Endpoint {
  kUnknown,
  kSearch,      // /.search, /Users/.search
  kCollection,  // /Users
  kResource,    // /Users/{id}
  kDiscovery,   // /Schemas, /Schemas/{id}, ...
  kMe,
  kBulk,
};

Endpoint endpoint_of(const Target& target) {
  constexpr std::string_view kSearchName = ".search";
  const std::string& name = target.collection;
  const bool item = target.id.has_value();
  if (name == "Users" || name == "Groups") {
    if (!item) return Endpoint::kCollection;
    return *target.id == kSearchName ? Endpoint::kSearch : Endpoint::kResource;
  }
  if (name == "Schemas" || name == "ResourceTypes") return Endpoint::kDiscovery;
  if (item) return Endpoint::kUnknown;
  if (name == "ServiceProviderConfig") return Endpoint::kDiscovery;
  if (name == kSearchName) return Endpoint::kSearch;
  if (name == "Me") return Endpoint::kMe;
  if (name == "Bulk") return Endpoint::kBulk;
  return Endpoint::kUnknown;
}

std::string_view allowed_methods(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kSearch:
      return "POST";
    case Endpoint::kCollection:
      return "GET, HEAD, POST";
    case Endpoint::kResource:
      return "GET, HEAD, PUT, PATCH, DELETE";
    case Endpoint::kDiscovery:
      return "GET, HEAD";
    case Endpoint::kBulk:
      return "POST";
    case Endpoint::kMe:
      return "GET, HEAD, PATCH";
    case Endpoint::kUnknown:
      break;
  }
  return "";
}

bool is_allowed(std::string_view methods, std::string_view method) {
  while (!methods.empty()) {
    const std::size_t comma = methods.find(", ");
    if (methods.substr(0, comma) == method) return true;
    if (comma == std::string_view::npos) break;
    methods.remove_prefix(comma + 2);
  }
  return false;
}

/// A bounded set of names for metrics: never bytes from outside.
std::string route_of(const Target& target, Endpoint endpoint) {
  std::string route(kRoot);
  if (endpoint == Endpoint::kUnknown) return route + "/{*other}";
  if (!target.collection.empty()) route += "/" + target.collection;
  if (target.id) route += endpoint == Endpoint::kSearch ? "/.search" : "/{id}";
  return route;
}

Result<void> check_switched_on(const directory::Actor& actor, const directory::Org& org) {
  const bool of_client = actor.scope == directory::Scope::kScim ||
                         actor.scope == directory::Scope::kRead ||
                         actor.scope == directory::Scope::kUser;
  if (of_client && !org.settings.scim_api) {
    return fail(Code::kPermissionDenied, "SCIM is switched off in this organization");
  }
  return {};
}

Result<void> check_may_write(const directory::Actor& actor, const directory::Org& org) {
  if (actor.scope == directory::Scope::kRead) {
    return fail(Code::kUnsupported, "this token only reads");
  }
  if (actor.scope == directory::Scope::kScim && !org.settings.automated_provisioning) {
    return fail(Code::kPermissionDenied,
                "automated provisioning is switched off in this organization");
  }
  return {};
}

/// Both, for a call that is under way: tokens are revoked, and switches turned, meanwhile.
Result<void> check_still_may_write(Directory& directory, const Call& call) {
  ASSIGN_OR_RETURN(const directory::Actor actor, directory.authenticate(call.bearer()));
  ASSIGN_OR_RETURN(const directory::Org org, find_org(directory, actor, call.org.slug));
  RETURN_IF_ERROR(check_switched_on(actor, org));
  return check_may_write(actor, org);
}

Result<http::Response> discover(const Call& call, const Target& target,
                                const ScimOptions& options) {
  if (call.query.get("filter")) {
    // RFC 7644 4: so that nobody takes the whole list for the filtered one.
    return fail(Code::kPermissionDenied, "this endpoint takes no filter");
  }
  if (target.collection == "ServiceProviderConfig") {
    const bool person = call.actor.scope == directory::Scope::kUser;
    const bool writes = check_may_write(call.actor, call.org).has_value();
    scim::Offer offer{.writes = writes, .page_default = call.page_default()};
    if (writes && !person) {
      offer.bulk_operations_max = kBulkOperationsMax;
      offer.bulk_bytes_max = options.group_body_bytes_max;
    }
    return json_answer(200, scim::service_provider_config(call.base, offer));
  }
  const bool schemas = target.collection == "Schemas";
  if (!target.id) {
    return json_answer(200, schemas ? scim::schemas(call.base) : scim::resource_types(call.base));
  }
  const auto found =
      schemas ? scim::schema(call.base, *target.id) : scim::resource_type(call.base, *target.id);
  if (!found) return fail(Code::kNotFound, "there is no such " + target.collection);
  return json_answer(200, *found);
}

/// `userName eq "..."` and the like, and nothing behind it.
bool is_equality(std::string_view filter) {
  const std::size_t quote = filter.find('"');
  if (quote == std::string_view::npos || filter.find('"', quote + 1) != filter.size() - 1) {
    return false;
  }
  return std::ranges::any_of(
      std::array<std::string_view, 3>{"userName eq ", "externalId eq ", "id eq "},
      [&](std::string_view each) { return ascii_iequals(filter.substr(0, quote), each); });
}

constexpr Functions kUserFunctions = {scim::user_type, create_user, get_user,
                                      replace_user,    patch_user,  delete_user};
constexpr Functions kGroupFunctions = {scim::group_type, create_group, get_group,
                                       replace_group,    patch_group,  delete_group};

}  // namespace

const Functions* functions_of(std::string_view collection) {
  if (collection == "Users") return &kUserFunctions;
  if (collection == "Groups") return &kGroupFunctions;
  return nullptr;
}

struct ScimService::Impl {
  Result<http::Response> answer(const http::Request& request, http::Context& context);
  Result<http::Response> run(const Call& call, const Target& target, Endpoint endpoint);
  Result<http::Response> write(const Call& call, const Target& target, const Functions& functions);
  Result<http::Response> bulk(const Call& call);
  /// A person's token: their own record, by its id or as /Me (RFC 7644 3.11).
  Result<http::Response> answer_person(const Call& call, const Target& target, Endpoint endpoint);

  Directory& directory;
  ScimOptions options;
  PageMemory pages;
};

Result<http::Response> ScimService::Impl::answer(const http::Request& request,
                                                 http::Context& context) {
  const auto target = parse_target(request.path);
  const Endpoint endpoint = target ? endpoint_of(*target) : Endpoint::kUnknown;
  context.route = route_of(target ? *target : Target{}, endpoint);
  ASSIGN_OR_RETURN(directory::Actor actor, authenticate(directory, request, context));
  if (!target) return std::unexpected(target.error());
  ASSIGN_OR_RETURN(directory::Org org, find_org(directory, actor, target->org));
  RETURN_IF_ERROR(check_switched_on(actor, org));
  ASSIGN_OR_RETURN(std::string base, origin(options, request, context));
  base += "/api/organizations/" + org.slug + "/scim/v2";
  ASSIGN_OR_RETURN(http::Query query, http::Query::parse(request.query));
  const Call call{.request = request,
                  .query = std::move(query),
                  .actor = std::move(actor),
                  .org = std::move(org),
                  .base = std::move(base),
                  .scanned_rows_max = options.scanned_rows_max,
                  .page_members_max = options.page_members_max,
                  .now = options.clock()};
  return run(call, *target, endpoint);
}

Result<http::Response> ScimService::Impl::run(const Call& call, const Target& target,
                                              Endpoint endpoint) {
  const std::string& method = call.request.method;
  if (endpoint == Endpoint::kUnknown) return fail(Code::kNotFound, "there is no such endpoint");
  const bool person = call.actor.scope == directory::Scope::kUser;
  if (endpoint == Endpoint::kMe && !person) {
    return fail(Code::kUnsupported, "this token is no person's: there is no /Me for it");
  }
  const std::string_view allowed = allowed_methods(endpoint);
  if (!is_allowed(allowed, method)) return method_not_allowed(allowed);
  if (endpoint == Endpoint::kDiscovery) return discover(call, target, options);
  if (person) return answer_person(call, target, endpoint);
  if (endpoint == Endpoint::kBulk) return bulk(call);

  const Functions& functions = target.collection == "Groups" ? kGroupFunctions : kUserFunctions;
  const bool reads = method == "GET" || method == "HEAD";
  if (reads && endpoint == Endpoint::kResource) {
    return functions.get(directory, call, *target.id);
  }
  if (reads) return answer_list(directory, pages, call, &functions.type(), nullptr);
  if (endpoint == Endpoint::kSearch) {
    if (!has_json_type(call.request)) return error_answer(415, "", "the body must be JSON");
    ASSIGN_OR_RETURN(const json::value body, parse_body(call.request, options.user_body_bytes_max));
    if (!body.is_object()) {
      return fail(Code::kInvalidArgument, "the body must be a JSON object", scim::kInvalidSyntax);
    }
    const scim::ResourceType* type = target.collection == ".search" ? nullptr : &functions.type();
    return answer_list(directory, pages, call, type, &body.get_object());
  }
  return write(call, target, functions);
}

Result<http::Response> ScimService::Impl::write(const Call& call, const Target& target,
                                                const Functions& functions) {
  RETURN_IF_ERROR(check_may_write(call.actor, call.org));
  const std::string& method = call.request.method;
  if (method == "DELETE") return functions.remove(directory, call, *target.id);
  if (!has_json_type(call.request)) {
    return error_answer(415, "", "the body must be application/scim+json");
  }
  const bool users = &functions.type() == &scim::user_type();
  ASSIGN_OR_RETURN(
      const json::value body,
      parse_body(call.request, users ? options.user_body_bytes_max : options.group_body_bytes_max));
  if (method == "POST") return functions.create(directory, call, body);
  if (method == "PUT") return functions.replace(directory, call, *target.id, body);
  return functions.patch(directory, call, *target.id, body);
}

Result<http::Response> ScimService::Impl::bulk(const Call& call) {
  RETURN_IF_ERROR(check_may_write(call.actor, call.org));
  if (!has_json_type(call.request)) {
    return error_answer(415, "", "the body must be application/scim+json");
  }
  ASSIGN_OR_RETURN(const json::value body, parse_body(call.request, options.group_body_bytes_max));
  const auto still_allowed = [this, &call] { return check_still_may_write(directory, call); };
  return answer_bulk(directory, call,
                     {.clock = options.monotonic_clock,
                      .time_max = options.bulk_time_max,
                      .still_allowed = still_allowed},
                     body);
}

Result<http::Response> ScimService::Impl::answer_person(const Call& call, const Target& target,
                                                        Endpoint endpoint) {
  ASSIGN_OR_RETURN(const std::string id, directory.own_id(call.actor));
  ASSIGN_OR_RETURN(const directory::User user, directory.get_user(call.actor, call.org.n, id, {}));
  if (!may_log_in(user, call.now)) {
    return fail(Code::kUnauthenticated, "the person may not log in any more");
  }
  const bool own = endpoint == Endpoint::kMe || (endpoint == Endpoint::kResource &&
                                                 target.collection == "Users" && *target.id == id);
  if (!own) return fail(Code::kPermissionDenied, "a person's token is for their own record");
  const std::string& method = call.request.method;
  if (method == "GET" || method == "HEAD") return get_user(directory, call, id);
  if (method != "PATCH") {
    return fail(Code::kPermissionDenied, "a person may change their SSH keys only, with PATCH");
  }
  if (!has_json_type(call.request)) {
    return error_answer(415, "", "the body must be application/scim+json");
  }
  ASSIGN_OR_RETURN(const json::value body, parse_body(call.request, options.user_body_bytes_max));
  return patch_own_user(directory, call, id, body);
}

std::optional<http::Response> scim_refusal(std::string_view path, int status,
                                           std::string_view sentence) {
  const bool ours = path.starts_with("/scim/") ||
                    (path.starts_with("/api/organizations/") && path.contains("/scim/"));
  if (!ours) return std::nullopt;
  return error_answer(status, status == 400 ? scim::kInvalidSyntax : "", sentence);
}

bool is_one_persons(const http::Request& request) {
  if (request.method != "GET") return false;
  const auto target = parse_target(request.path);
  if (!target || target->collection != "Users") return false;
  if (target->id) return true;
  const auto query = http::Query::parse(request.query);
  if (!query || query->get("sortBy") || query->get("groups")) return false;
  const auto filter = query->get("filter");
  return filter && is_equality(*filter);
}

ScimService::ScimService(Directory& directory, ScimOptions options)
    : impl_(
          new Impl{.directory = directory, .options = std::move(options), .pages = PageMemory()}) {
  std::string& url = impl_->options.public_url;
  while (url.ends_with('/')) url.pop_back();
}

ScimService::~ScimService() = default;

http::Response ScimService::handle(const http::Request& request, http::Context& context) {
  Result<http::Response> response = impl_->answer(request, context);
  if (!response) return error_answer(response.error());
  return std::move(*response);
}

}  // namespace roster::provider
