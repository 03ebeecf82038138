#include "agent/hub.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "crypto/token.h"
#include "crypto/x509.h"

namespace roster::agent {
namespace {

constexpr std::size_t kJoinTokenBytesMax = 4096;
constexpr std::size_t kAnswerBytesMax = 64 << 10;
constexpr std::chrono::milliseconds kExchangeTimeout{15'000};  // requests that stream set their own
constexpr std::size_t kDetailBytesMax = 200;
constexpr std::string_view kPemBegin = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view kPemEnd = "-----END CERTIFICATE-----";

http::ClientOptions client_options(const Config& config) {
  http::ClientOptions options;
  options.url = config.url;
  options.allow_plain_http = config.plain_http;
  options.user_agent = "roster-agent/" ROSTER_VERSION;
  options.timeout = kExchangeTimeout;
  if (!config.ca_file.empty()) options.ca_file = config.ca_file;
  return options;
}

/// The certificate with this fingerprint among those of a chain; empty when there is none. What
/// lies between them (RFC 7468 2: explanatory text), the kind of line ends, and whether the last
/// line has one, depend on who wrote the file.
std::string find_certificate(std::string_view chain, std::string_view sha256) {
  while (true) {
    const std::size_t begin = chain.find(kPemBegin);
    if (begin == std::string_view::npos) return {};
    chain.remove_prefix(begin);
    const std::size_t end = chain.find(kPemEnd);
    if (end == std::string_view::npos) return {};
    std::string one(chain.substr(0, end + kPemEnd.size()));
    std::erase(one, '\r');
    one += '\n';
    const auto info = crypto::certificate_info(one);
    if (info && info->sha256 == sha256) return one;
    chain.remove_prefix(end + kPemEnd.size());
  }
}

Result<crypto::JoinToken> read_join_token(const Config& config) {
  auto text = read_private_file(config.join_token_file, kJoinTokenBytesMax);
  if (!text) return fail_in("join token", std::move(text.error()));
  auto token = crypto::parse_join_token(*text);
  if (!token) return fail_in(config.join_token_file.string(), std::move(token.error()));
  return token;
}

Result<feed::Enrollment> parse_answer(const http::ClientResponse& response, std::string_view what) {
  if (response.status != 200 && response.status != 201) {
    return std::unexpected(answer_error(what, response));
  }
  auto parsed = feed::Enrollment::parse(response.body);
  if (!parsed) return fail_in(what, std::move(parsed.error()));
  return parsed;
}

Result<void> check_wanted(const Config& config, const feed::Enrollment& enrollment) {
  if (!config.org.empty() && enrollment.org != config.org) {
    return fail(Code::kFailedPrecondition, "the hub enrolled this node in organization " +
                                               enrollment.org + ", wanted is " + config.org);
  }
  if (!config.role.empty() && enrollment.role != config.role) {
    return fail(Code::kFailedPrecondition,
                "the hub enrolled this node as " + enrollment.role + ", wanted is " + config.role);
  }
  return {};
}

/// The certificate of `pem` that has this fingerprint, or its first when there is no pin. Nothing
/// when it is not an authority's. Only that one is kept: what else an answer carries would be
/// trusted, too.
std::string authority_of(std::string_view pem, const std::string& pin) {
  const auto first = crypto::certificate_info(pem);
  const std::string fingerprint = !pin.empty() ? pin : first ? first->sha256 : std::string();
  std::string one = find_certificate(pem, fingerprint);
  const auto info = crypto::certificate_info(one);
  return info && info->is_ca ? one : std::string();
}

/// From now on the node trusts the CA that was pinned, and no other.
Result<void> settle_ca(const std::string& pin, const std::string& chain,
                       feed::Enrollment& enrollment) {
  if (pin.empty()) {
    // What is no authority would leave the node with none; the system's are there.
    enrollment.ca_pem = authority_of(enrollment.ca_pem, pin);
    return {};
  }
  enrollment.ca_pem = authority_of(enrollment.ca_pem.empty() ? chain : enrollment.ca_pem, pin);
  if (enrollment.ca_pem.empty()) {
    return fail(Code::kFailedPrecondition,
                "the hub's CA is not the one whose fingerprint the join token carries");
  }
  return {};
}

}  // namespace

Error answer_error(std::string_view what, const http::ClientResponse& response) {
  const auto code = [status = response.status] {
    if (status == 401) return Code::kUnauthenticated;
    if (status == 403) return Code::kPermissionDenied;
    if (status == 404) return Code::kNotFound;
    if (status == 409) return Code::kAlreadyExists;
    if (status == 412) return Code::kVersionMismatch;
    if (status == 408 || status == 429 || status >= 500) return Code::kUnavailable;
    return Code::kInvalidArgument;
  }();
  std::string message = std::string(what) + ": the hub answered " + std::to_string(response.status);
  const auto body = json::parse(response.body, {.bytes_max = kAnswerBytesMax, .depth_max = 8});
  if (body && body->is_object()) {
    for (const std::string_view name : {"detail", "message", "error"}) {
      if (const auto detail = json::find_string(body->get_object(), name)) {
        message += ": " + std::string(detail->substr(0, kDetailBytesMax));
        break;
      }
    }
  }
  return {code, std::move(message)};
}

std::optional<std::chrono::milliseconds> retry_after(const http::ClientResponse& response,
                                                     Timestamp now) {
  const auto asked = http::parse_retry_after(response.headers.get("Retry-After"), now);
  if (!asked) return std::nullopt;
  return std::clamp<std::chrono::milliseconds>(*asked, std::chrono::seconds(1),
                                               std::chrono::seconds(300));
}

std::optional<Timestamp> hub_time(const http::ClientResponse& response) {
  return http::parse_date(response.headers.get("Date"));
}

Timestamp half_life(const feed::Enrollment& enrollment) {
  return enrollment.issued + (enrollment.expires - enrollment.issued) / 2;
}

Result<std::unique_ptr<http::Client>> connect(const Config& config,
                                              const feed::Enrollment& enrollment) {
  http::ClientOptions options = client_options(config);
  options.bearer_token = enrollment.credential;
  if (config.ca_file.empty()) options.ca_pem = enrollment.ca_pem;
  return http::Client::create(std::move(options));
}

Result<feed::Enrollment> enroll(const Config& config, std::uint32_t highest_id,
                                const Secret& credential) {
  ASSIGN_OR_RETURN(const crypto::JoinToken token, read_join_token(config));
  const std::string pin = token.ca_sha256.empty() ? config.ca_sha256 : token.ca_sha256;
  http::ClientOptions options = client_options(config);
  options.bearer_token = token.token;
  if (!pin.empty()) {
    options.ca_file.reset();
    options.ca_sha256 = pin;
  }
  ASSIGN_OR_RETURN(const auto client, http::Client::create(std::move(options)));
  const feed::EnrollRequest body{.name = config.node_name,
                                 .role = config.role,
                                 .agent_version = ROSTER_VERSION,
                                 .highest_id = highest_id,
                                 .credential = credential};
  http::ClientRequest request;
  request.method = "POST";
  request.target = feed::kEnrollPath;
  request.headers.set("Content-Type", "application/json");
  request.body = body.to_json();
  ASSIGN_OR_RETURN(const http::ClientResponse response, client->call(request));
  ASSIGN_OR_RETURN(feed::Enrollment enrollment, parse_answer(response, "enrolment"));
  RETURN_IF_ERROR(check_wanted(config, enrollment));
  ASSIGN_OR_RETURN(const http::Url url, http::Url::parse(config.url));
  RETURN_IF_ERROR(
      settle_ca(url.scheme == "https" ? pin : "", response.server_chain_pem, enrollment));
  return enrollment;
}

Result<feed::Enrollment> renew(const Config& config, const feed::Enrollment& present,
                               std::uint32_t highest_id) {
  ASSIGN_OR_RETURN(const auto client, connect(config, present));
  const feed::EnrollRequest body{
      .name = {}, .role = {}, .agent_version = ROSTER_VERSION, .highest_id = highest_id};
  http::ClientRequest request;
  request.method = "POST";
  request.target = feed::kRenewPath;
  request.headers.set("Content-Type", "application/json");
  request.body = body.to_json();
  ASSIGN_OR_RETURN(const http::ClientResponse response, client->call(request));
  ASSIGN_OR_RETURN(feed::Enrollment renewed, parse_answer(response, "renewal of the credential"));
  if (renewed.org != present.org) {
    return fail(Code::kFailedPrecondition, "the renewed credential is of another organization");
  }
  if (renewed.ca_pem == present.ca_pem || renewed.ca_pem.empty()) {
    renewed.ca_pem = present.ca_pem;
    return renewed;
  }
  // Another authority: from the hub, which is trusted to change it, but not against the pin, and
  // not to leave the node with none that works.
  std::string next = authority_of(renewed.ca_pem, config.ca_sha256);
  if (next.empty()) {
    log::warn("the hub's new CA is not taken: it is none, or not the one that ca_sha256 pins",
              {{"hub", config.url}});
    next = present.ca_pem;
  }
  renewed.ca_pem = std::move(next);
  return renewed;
}

}  // namespace roster::agent
