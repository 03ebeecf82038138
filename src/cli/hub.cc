#include "cli/hub.h"

#include <cstdlib>

#include "base/encoding.h"
#include "base/file.h"

namespace roster::cli {
namespace {

constexpr std::size_t kTokenBytesMax = 4096;

Code code_of(int status) {
  switch (status) {
    case 400:
      return Code::kInvalidArgument;
    case 401:
      return Code::kUnauthenticated;
    case 403:
      return Code::kPermissionDenied;
    case 404:
      return Code::kNotFound;
    case 409:
      return Code::kAlreadyExists;
    case 413:
      return Code::kTooLarge;
    case 501:
      return Code::kUnsupported;
    case 429:
    case 502:
    case 503:
    case 504:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

Result<Secret> read_token(const std::filesystem::path& file) {
  if (!file.empty()) {
    ASSIGN_OR_RETURN(std::string token, read_private_file(file, kTokenBytesMax));
    return Secret(std::move(token));
  }
  const char* token = std::getenv("ROSTER_TOKEN");
  if (token == nullptr || *token == '\0') {
    return fail(Code::kInvalidArgument,
                "no token: give --token-file FILE or set ROSTER_TOKEN in the environment");
  }
  return Secret(token);
}

}  // namespace

Result<Hub> Hub::connect(const HubOptions& options) {
  if (options.url.empty()) {
    return fail(Code::kInvalidArgument,
                "no hub: give --url https://HOST:PORT or set ROSTER_URL in the environment");
  }
  http::ClientOptions client_options;
  client_options.url = options.url;
  ASSIGN_OR_RETURN(client_options.bearer_token, read_token(options.token_file));
  if (!options.ca_file.empty()) client_options.ca_file = options.ca_file;
  client_options.user_agent = "roster-cli";
  client_options.timeout = std::chrono::minutes(3);  // a connection check waits for a job
  ASSIGN_OR_RETURN(auto client, http::Client::create(std::move(client_options)));
  return Hub(std::move(client), options.org);
}

Result<json::object> Hub::call(std::string_view method, std::string_view path,
                               const json::object& body) {
  http::ClientRequest request;
  request.method = method;
  request.target = "/api/v1" + std::string(path);
  request.headers.set("Accept", "application/json");
  if (method == "POST" || method == "PUT" || method == "PATCH") {
    request.headers.set("Content-Type", "application/json");
    request.body = json::serialize(body);
  }
  ASSIGN_OR_RETURN(const http::ClientResponse response, client_->call(request));
  json::object parsed;
  if (!response.body.empty()) {
    auto value = json::parse(response.body, {.bytes_max = 64 << 20, .values_max = 64 << 20});
    if (!value || !value->is_object()) {
      return fail(Code::kInternal, "HTTP status " + std::to_string(response.status) +
                                       " with a body that is not the admin API's; is --url right?");
    }
    parsed = std::move(value->get_object());
  }
  if (response.status >= 200 && response.status < 300) return parsed;
  const auto detail = json::find_string(parsed, "detail");
  return fail(code_of(response.status),
              detail ? std::string(*detail) : "HTTP status " + std::to_string(response.status));
}

Result<json::object> Hub::call_org(std::string_view method, std::string_view path,
                                   const json::object& body) {
  if (org_.empty()) {
    return fail(Code::kInvalidArgument,
                "no organization: give --org ORG or set ROSTER_ORG in the environment");
  }
  return call(method, "/orgs/" + percent_encode(org_) + std::string(path), body);
}

}  // namespace roster::cli
