#include "slurm/rest.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "http/client.h"

namespace roster::slurm {
namespace {

constexpr std::size_t kTextBytesMax = 300;
constexpr std::size_t kErrorsMax = 100;
constexpr std::size_t kVersionsMax = 64;
constexpr int kVersionNumberMax = 999;

/// For sentences: one line of printable ASCII, as slurmrestd writes.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, kTextBytesMax));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = ' ';
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

/// Number and end of a version name that begins at `at`, or nothing.
std::optional<int> version_at(std::string_view text, std::size_t at) {
  constexpr std::string_view kBegin = "v0.0.";
  if (!text.substr(at).starts_with(kBegin)) return std::nullopt;
  int n = 0;
  const char* begin = text.data() + at + kBegin.size();
  const auto [end, problem] = std::from_chars(begin, text.data() + text.size(), n);
  if (problem != std::errc{} || n < 1 || n > kVersionNumberMax) return std::nullopt;
  return n;
}

std::vector<RestError> errors_in(const json::object& body) {
  std::vector<RestError> errors;
  const json::array* items = json::find_array(body, "errors");
  if (items == nullptr) return errors;
  for (const json::value& item : *items) {
    if (errors.size() >= kErrorsMax) break;
    const json::object* error = item.if_object();
    if (error == nullptr) {  // plain texts in some plugins
      errors.push_back({0, item.is_string() ? shown(json::view(item.get_string())) : "", "", ""});
      continue;
    }
    const auto text = [error](std::string_view name) {
      return shown(json::find_string(*error, name).value_or(""));
    };
    // 22.05 writes `errno` for partitions, nodes and reservations.
    const std::int64_t number = json::find_int(*error, "error_number")
                                    .value_or(json::find_int(*error, "errno").value_or(0));
    errors.push_back({number, text("error"), text("description"), text("source")});
  }
  return errors;
}

std::string sentence_of(const RestAnswer& answer) {
  if (answer.errors.empty()) {
    return answer.text.empty()
               ? "slurmrestd answered " + std::to_string(answer.status)
               : "slurmrestd answered " + std::to_string(answer.status) + ": " + answer.text;
  }
  const RestError& first = answer.errors.front();
  std::string sentence = first.description;
  if (!first.error.empty() && first.error != "Unspecified error") {
    sentence += (sentence.empty() ? "" : ": ") + first.error;
  }
  if (sentence.empty()) sentence = "slurmrestd reports an error without words";
  if (!first.source.empty() || first.number != 0) {
    sentence += " (" + first.source + (first.source.empty() ? "" : ", ") +
                std::to_string(first.number) + ")";
  }
  return sentence;
}

bool mentions(const RestError& error, std::string_view word) {
  return error.description.contains(word) || error.error.contains(word);
}

/// What the first error means, or nothing when its number tells nothing.
std::optional<Code> code_of(const RestError& error) {
  if (error.number == kAuthenticationError || mentions(error, "authentication")) {
    return Code::kUnauthenticated;
  }
  switch (error.number) {
    case kAccessDenied:
      return Code::kPermissionDenied;
    case kUnspecified:
    case kDatabaseConnection:
      return Code::kUnavailable;
    case kJobsActive:
    case kDefaultAccount:
      return Code::kFailedPrecondition;
    case kNothingFound:
      return Code::kNotFound;
    default:
      return std::nullopt;
  }
}

/// Of the numbers that callers act on.
std::string_view keyword_of(std::int64_t number) {
  switch (number) {
    case kUnspecified:
      return kUnspecifiedKeyword;
    case kJobsActive:
      return "7001";
    case kDefaultAccount:
      return "7009";
    default:
      return {};
  }
}

Code code_of_status(int status) {
  switch (status) {
    case 400:
      return Code::kInvalidArgument;
    case 401:
    case 511:  // 24.11, with or without `errors`: slurmctld refused the token
      return Code::kUnauthenticated;
    case 403:
      return Code::kPermissionDenied;
    case 404:
      return Code::kNotFound;
    case 405:
      return Code::kUnsupported;
    case 502:
    case 503:
    case 504:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

const json::object* slurm_meta(const json::object& body) {
  const json::object* meta = json::find_object(body, "meta");
  if (meta == nullptr) return nullptr;
  const json::object* slurm = json::find_object(*meta, "slurm");
  return slurm != nullptr ? slurm : json::find_object(*meta, "Slurm");
}

}  // namespace

std::vector<ApiVersion> versions_in(std::string_view openapi) {
  std::vector<ApiVersion> versions;
  // "/slurm/v0.0.42/ping/", or with "\/": what counts is the segment before.
  constexpr std::string_view kBefore = "/slurm";
  for (std::size_t at = 0; (at = openapi.find(kBefore, at)) != openapi.npos;) {
    at += kBefore.size();
    std::size_t segment = at;
    if (openapi.substr(segment).starts_with('\\')) ++segment;
    if (!openapi.substr(segment).starts_with('/')) continue;
    const auto n = version_at(openapi, segment + 1);
    if (!n || std::ranges::find(versions, ApiVersion{*n}) != versions.end()) continue;
    versions.push_back({*n});
    if (versions.size() >= kVersionsMax) break;
  }
  std::ranges::sort(versions);
  return versions;
}

Result<ApiVersion> newest_common(const std::vector<ApiVersion>& offered) {
  std::string names;
  std::optional<ApiVersion> newest;
  for (const ApiVersion version : offered) {
    names += (names.empty() ? "" : ", ") + version.text();
    if (version >= kOldestApi && version <= kNewestApi) newest = version;
  }
  if (newest) return *newest;
  return fail(Code::kUnsupported, "slurmrestd offers " + (names.empty() ? "no version" : names) +
                                      "; Roster speaks " + kOldestApi.text() + " to " +
                                      kNewestApi.text());
}

Result<RestAnswer> parse_answer(int status, std::string_view content_type, std::string_view body) {
  RestAnswer answer;
  answer.status = status;
  if (body.empty()) return answer;
  if (!content_type.starts_with("application/json")) {
    answer.text = shown(body);
    return answer;
  }
  auto parsed = json::parse(body, {.bytes_max = body.size(), .values_max = 20'000'000});
  if (!parsed || !parsed->is_object()) {
    return fail(Code::kDataLoss, "slurmrestd's answer is not the JSON that it says it is");
  }
  answer.body = std::move(parsed->get_object());
  answer.errors = errors_in(answer.body);
  return answer;
}

Result<void> outcome(const RestAnswer& answer) {
  if (!answer.errors.empty()) {
    const RestError& first = answer.errors.front();
    const Code code = code_of(first).value_or(answer.status < 300 ? Code::kInternal
                                                                  : code_of_status(answer.status));
    return fail(code, sentence_of(answer), keyword_of(first.number));
  }
  if (answer.status >= 200 && answer.status < 300) {
    if (!answer.body.empty()) return {};
    return fail(Code::kDataLoss, "what answers " + std::to_string(answer.status) +
                                     " there is not slurmrestd's JSON");
  }
  if (answer.status == 304) return {};  // there was nothing to do: the caller reads back
  return fail(code_of_status(answer.status), sentence_of(answer));
}

bool nobody_answers(const json::object& body) {
  const json::array* pings = json::find_array(body, "pings");
  if (pings == nullptr) return false;
  return std::ranges::none_of(*pings, [](const json::value& item) {
    const json::object* ping = item.if_object();
    if (ping == nullptr) return false;
    // `ping` up to v0.0.39, `pinged` of slurmctld from v0.0.40, `responding` alone of slurmdbd.
    return json::find_string(*ping, "ping") == "UP" || json::find_string(*ping, "pinged") == "UP" ||
           json::find_bool(*ping, "responding").value_or(false);
  });
}

std::string release_of(const json::object& body) {
  const json::object* slurm = slurm_meta(body);
  return slurm == nullptr ? "" : shown(json::find_string(*slurm, "release").value_or(""));
}

std::string cluster_of(const json::object& body) {
  const json::object* slurm = slurm_meta(body);
  return slurm == nullptr ? "" : shown(json::find_string(*slurm, "cluster").value_or(""));
}

Result<RestClient> RestClient::create(RestOptions options) {
  http::ClientOptions client;
  client.url = options.endpoint;
  client.ca_file = options.ca_file;
  client.allow_plain_http = options.allow_plain_http;
  client.timeout = options.timeout;
  client.body_bytes_max = options.body_bytes_max;
  ASSIGN_OR_RETURN(auto made, http::Client::create(std::move(client)));
  return RestClient(std::move(options), std::move(made));
}

RestClient::RestClient(RestOptions options, std::unique_ptr<http::Client> client)
    : options_(std::move(options)), client_(std::move(client)) {}
RestClient::~RestClient() = default;
RestClient::RestClient(RestClient&&) noexcept = default;
RestClient& RestClient::operator=(RestClient&&) noexcept = default;

Result<RestAnswer> RestClient::call(const Caller& caller, std::string_view method,
                                    std::string_view target, const json::object* body) {
  http::ClientRequest request;
  request.method = method;
  request.target = target;
  request.headers.set("X-SLURM-USER-NAME", caller.user);
  request.headers.set("X-SLURM-USER-TOKEN", caller.token.expose());
  if (body != nullptr) {
    request.headers.set("Content-Type", "application/json");
    request.body = json::serialize(*body);
  }
  ASSIGN_OR_RETURN(const http::ClientResponse response, client_->call(request));
  return parse_answer(response.status, response.headers.get("Content-Type"), response.body);
}

Result<json::object> RestClient::get(const Caller& caller, std::string_view target) {
  ASSIGN_OR_RETURN(RestAnswer answer, call(caller, "GET", target));
  RETURN_IF_ERROR(outcome(answer));
  return std::move(answer.body);
}

Result<std::vector<ApiVersion>> RestClient::versions(const Caller& caller) {
  http::ClientRequest request;
  request.target = "/openapi/v3";
  request.headers.set("X-SLURM-USER-NAME", caller.user);
  request.headers.set("X-SLURM-USER-TOKEN", caller.token.expose());
  ASSIGN_OR_RETURN(const http::ClientResponse response, client_->call(request));
  if (response.status == 200) {
    std::vector<ApiVersion> found = versions_in(response.body);
    if (!found.empty()) return found;
    return fail(Code::kUnsupported,
                "what answers there describes no interface of slurmrestd at /openapi/v3");
  }
  RestAnswer answer;
  answer.status = response.status;
  answer.text = shown(response.body);
  return std::unexpected(outcome(answer).error());
}

}  // namespace roster::slurm
