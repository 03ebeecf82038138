#include "kubernetes/secret_publisher.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/encoding.h"
#include "base/text.h"
#include "http/client.h"
#include "kubernetes/answers.h"

namespace roster::kubernetes {
namespace {

using std::chrono::milliseconds;

/// Why a try failed, and whether another may succeed.
struct Failure {
  enum class Next { kGiveUp, kRetry };
  Error error;
  Next next = Next::kGiveUp;
  bool everywhere = false;  // every other map would fail likewise
  std::optional<std::chrono::seconds> retry_after = {};
};

template <typename T>
using Tried = std::expected<T, Failure>;

std::unexpected<Failure> failure(Code code, std::string message,
                                 Failure::Next next = Failure::Next::kGiveUp,
                                 bool everywhere = false) {
  return std::unexpected(Failure{Error{code, std::move(message)}, next, everywhere});
}

std::string joined(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ", ") + item;
  return out;
}

/// "the API server answered 403 Forbidden", with the server's sentence where it cannot quote data:
/// a refused document may come back in the message that refuses it.
std::string answered(int status, const ApiStatus& told) {
  std::string out = "the API server answered " + std::to_string(status);
  if (!told.reason.empty()) out += " " + told.reason;
  const bool may_quote = status == 400 || status == 413 || status == 415 || status == 422;
  if (may_quote && !told.fields.empty()) out += ": " + joined(told.fields);
  if (!may_quote && !told.message.empty()) out += ": " + told.message;
  return out;
}

std::unexpected<Failure> conflict(const std::string& secret, const ApiStatus& told) {
  std::string owners;
  for (const FieldConflict& one : told.conflicts) {
    owners += (owners.empty() ? "" : ", ") + one.field + " by \"" + one.manager + "\"";
  }
  return failure(Code::kFailedPrecondition,
                 "Secret " + secret + " has another writer (" + owners +
                     "): stop it, then take the key over with force, or delete the Secret");
}

/// What a status other than 2xx means; RFC 9110 and the API's conventions for Status.
Failure judge(const http::ClientResponse& response, const std::string& secret) {
  using Next = Failure::Next;
  const ApiStatus told = parse_status(response.body);
  const std::string text = answered(response.status, told);
  Failure out{Error{Code::kUnavailable, text}};
  switch (response.status) {
    case 401:
      out = {Error{Code::kUnauthenticated, text}, Next::kRetry, true};
      break;
    case 403:
      out.error = {Code::kPermissionDenied,
                   text + "; the pod's Role must allow get, patch and create on Secret " + secret};
      break;
    case 404:
      out = {Error{Code::kNotFound, text}, Next::kGiveUp, told.kind == "namespaces"};
      break;
    case 409:
      if (!told.conflicts.empty()) return conflict(secret, told).error();
      out.next = Next::kRetry;
      break;
    case 410:
      out.next = Next::kRetry;
      break;
    case 413:
      out.error.code = Code::kTooLarge;
      break;
    case 400:
    case 415:
    case 422:
      out.error.code = Code::kInvalidArgument;
      break;
    default:
      // 429 and what a server or a proxy before it cannot do now. Redirects are not followed: the
      // token is for this server.
      if (response.status == 429 || response.status >= 500) out.next = Next::kRetry;
      out.everywhere = true;
      break;
  }
  // In seconds: a date the API never sends.
  const auto seconds = parse_number<std::uint32_t>(response.headers.get("Retry-After"));
  out.retry_after = seconds ? std::chrono::seconds(*seconds) : told.retry_after;
  return out;
}

Error too_large(const MapText& map, std::size_t others) {
  std::string message = "map " + map.name + " has " + std::to_string(map.bytes.size()) + " bytes";
  if (others > 0) {
    message += " and its Secret " + std::to_string(others) + " more under other keys";
  }
  message += ", a Secret holds " + std::to_string(kSecretBytesMax) +
             ": what is published stays as it was. Give the cluster a view of fewer groups, or "
             "mount the agent's cache (the DaemonSet) in the place of Secrets";
  return {Code::kTooLarge, std::move(message)};
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<void> check_options(const PublisherOptions& options) {
  if (!is_label(options.namespace_name)) {
    return fail(Code::kInvalidArgument, "the namespace is not an RFC 1123 label");
  }
  if (!is_subdomain(options.secret_prefix + "x")) {
    return fail(Code::kInvalidArgument, "the prefix cannot begin the name of a Secret");
  }
  const std::string& manager = options.field_manager;
  if (manager.empty() || manager.size() > 128 ||
      !std::ranges::all_of(manager, [](char c) { return c >= 0x20 && c < 0x7F; })) {
    return fail(Code::kInvalidArgument, "the field manager is not 1 to 128 printable characters");
  }
  if (options.attempts_max == 0) {
    return fail(Code::kInvalidArgument, "at least one attempt is needed");
  }
  return {};
}

}  // namespace

struct SecretPublisher::Impl {
  explicit Impl(PublisherOptions given) : options(std::move(given)) {}

  const PublisherOptions options;
  ServiceAccount account;  // what `client` was made with

  std::mutex mutex;
  std::condition_variable changed;
  bool stopped = false;                  // guarded by mutex
  std::shared_ptr<http::Client> client;  // guarded by mutex; replaced with the credential

  bool is_stopped() {
    const std::lock_guard lock(mutex);
    return stopped;
  }

  /// True when stopped.
  bool wait(milliseconds time) {
    if (options.pause) return options.pause(time) || is_stopped();
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, time, [this] { return stopped; });
  }

  Result<bool> refresh();
  Tried<http::ClientResponse> call(http::ClientRequest request);
  Tried<Outcome> try_once(const MapText& map, const std::string& secret);
  Tried<Outcome> publish_map(const MapText& map, const std::string& secret, milliseconds deadline);
  milliseconds backoff(unsigned attempt) const;
};

/// Takes what is on disk now; true when it was another credential.
Result<bool> SecretPublisher::Impl::refresh() {
  ASSIGN_OR_RETURN(ServiceAccount now, read_service_account(options.service_account));
  if (client && constant_time_equal(now.token.expose(), account.token.expose()) &&
      now.ca_pem == account.ca_pem) {
    return false;
  }
  http::ClientOptions made;
  made.url = options.api_url;
  made.bearer_token = now.token;
  made.ca_pem = now.ca_pem;
  made.timeout = options.request_timeout;
  made.body_bytes_max = kAnswerBytesMax;
  made.user_agent = options.field_manager;
  ASSIGN_OR_RETURN(std::shared_ptr<http::Client> fresh, http::Client::create(std::move(made)));
  account = std::move(now);
  const std::lock_guard lock(mutex);
  client = std::move(fresh);
  return true;
}

Tried<http::ClientResponse> SecretPublisher::Impl::call(http::ClientRequest request) {
  using Next = Failure::Next;
  if (auto refreshed = refresh(); !refreshed) {
    return std::unexpected(Failure{std::move(refreshed).error(), Next::kGiveUp, true});
  }
  std::shared_ptr<http::Client> used;
  {
    const std::lock_guard lock(mutex);
    if (stopped) return failure(Code::kUnavailable, "stopped", Next::kGiveUp, true);
    used = client;
  }
  request.headers.set("Accept", "application/json");
  auto response = used->call(request);
  if (!response) {
    const bool may_pass =
        response.error().code == Code::kUnavailable || response.error().code == Code::kDataLoss;
    Error error{response.error().code, "the API server: " + response.error().message};
    return std::unexpected(
        Failure{std::move(error), may_pass ? Next::kRetry : Next::kGiveUp, true});
  }
  return std::move(*response);
}

Tried<Outcome> SecretPublisher::Impl::try_once(const MapText& map, const std::string& secret) {
  const std::string key = map.name + ".cache";
  const std::string target = "/api/v1/namespaces/" + options.namespace_name + "/secrets/" + secret;
  auto read = call({.target = target});
  if (!read) return std::unexpected(std::move(read).error());
  std::string version;
  if (read->status == 200) {
    auto state = parse_secret(read->body, secret, key);
    if (!state) {
      return failure(Code::kUnavailable,
                     "the API server's answer is refused: " + state.error().message,
                     Failure::Next::kRetry);
    }
    if (state->value && *state->value == map.bytes) return Outcome::kUnchanged;
    if (state->immutable) {
      return failure(Code::kFailedPrecondition,
                     "Secret " + secret + " is immutable: delete it, it will be made anew");
    }
    if (map.bytes.size() + state->other_bytes > kSecretBytesMax) {
      return std::unexpected(Failure{too_large(map, state->other_bytes)});
    }
    version = std::move(state->resource_version);
  } else if (read->status != 404) {
    return std::unexpected(judge(*read, secret));
  }

  http::ClientRequest apply{.method = "PATCH"};
  apply.target = target + "?fieldManager=" + percent_encode(options.field_manager) +
                 "&force=" + (options.force ? "true" : "false");
  apply.headers.set("Content-Type", "application/apply-patch+yaml");  // JSON is YAML
  apply.body = apply_body(options.namespace_name, secret, key, map.bytes, version);
  auto written = call(std::move(apply));
  if (!written) return std::unexpected(std::move(written).error());
  if (written->status == 200) return Outcome::kUpdated;
  if (written->status == 201) return Outcome::kCreated;
  Failure judged = judge(*written, secret);
  // Deleted after it was read: it is made anew.
  if (written->status == 404 && !version.empty()) judged.next = Failure::Next::kRetry;
  return std::unexpected(std::move(judged));
}

/// From the upper half of a bound that doubles, so that what failed together does not come back
/// together.
milliseconds SecretPublisher::Impl::backoff(unsigned attempt) const {
  std::array<std::uint8_t, 4> drawn{};
  options.random(drawn);
  std::uint32_t number = 0;
  std::memcpy(&number, drawn.data(), sizeof number);
  const auto doubled = options.backoff_min.count() << std::min(attempt, 20U);
  const auto half = std::min<std::int64_t>(doubled, options.backoff_max.count()) / 2;
  return milliseconds(half + static_cast<std::int64_t>(number % (half + 1)));
}

Tried<Outcome> SecretPublisher::Impl::publish_map(const MapText& map, const std::string& secret,
                                                  milliseconds deadline) {
  if (!is_subdomain(secret) || !is_data_key(map.name + ".cache")) {
    return failure(Code::kInvalidArgument, "map " + map.name + " cannot name a Secret");
  }
  if (map.bytes.size() > kSecretBytesMax) return std::unexpected(Failure{too_large(map, 0)});
  for (unsigned attempt = 1;; ++attempt) {
    Tried<Outcome> tried = try_once(map, secret);
    if (tried || tried.error().next == Failure::Next::kGiveUp) return tried;
    Failure& failed = tried.error();
    if (attempt >= options.attempts_max) {
      failed.error.message += " (after " + std::to_string(attempt) + " attempts)";
      return tried;
    }
    milliseconds pause = backoff(attempt - 1);
    if (failed.error.code == Code::kUnauthenticated) {
      // The kubelet may have replaced the token since it was read.
      if (const auto refreshed = refresh(); refreshed && *refreshed) continue;
    }
    if (failed.retry_after) pause = std::max(pause, milliseconds(*failed.retry_after));
    if (pause > options.retry_after_max || options.clock() + pause > deadline) {
      failed.error.message += "; it is tried again with the next pass";
      failed.everywhere = true;
      return tried;
    }
    if (wait(pause)) return failure(Code::kUnavailable, "stopped", Failure::Next::kGiveUp, true);
  }
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kUnchanged:
      return "unchanged";
    case Outcome::kCreated:
      return "created";
    case Outcome::kUpdated:
      return "updated";
    case Outcome::kFailed:
      return "failed";
  }
  CHECK(false);
}

bool PublishReport::ok() const {
  return std::ranges::none_of(maps,
                              [](const MapReport& map) { return map.outcome == Outcome::kFailed; });
}

Result<SecretPublisher> SecretPublisher::create(PublisherOptions options) {
  if (options.api_url.empty()) {
    ASSIGN_OR_RETURN(options.api_url, api_server_url(environment("KUBERNETES_SERVICE_HOST"),
                                                     environment("KUBERNETES_SERVICE_PORT")));
  }
  if (options.namespace_name.empty()) {
    ASSIGN_OR_RETURN(options.namespace_name, read_pod_namespace(options.service_account));
  }
  RETURN_IF_ERROR(check_options(options));
  auto impl = std::make_unique<Impl>(std::move(options));
  if (auto made = impl->refresh(); !made) return std::unexpected(std::move(made).error());
  return SecretPublisher(std::move(impl));
}

PublishReport SecretPublisher::publish(std::span<const MapText> maps) {
  PublishReport report;
  const milliseconds deadline = impl_->options.clock() + impl_->options.pass_timeout;
  std::optional<Error> everywhere;
  for (const MapText& map : maps) {
    MapReport& one = report.maps.emplace_back();
    one.map = map.name;
    one.secret = impl_->options.secret_prefix + map.name;
    one.bytes = map.bytes.size();
    if (everywhere) {
      one.error = everywhere;
      continue;
    }
    Tried<Outcome> outcome = impl_->publish_map(map, one.secret, deadline);
    if (outcome) {
      one.outcome = *outcome;
      continue;
    }
    if (outcome.error().everywhere) everywhere = outcome.error().error;
    one.error = std::move(outcome.error().error);
  }
  return report;
}

void SecretPublisher::interrupt() {
  const std::lock_guard lock(impl_->mutex);
  impl_->stopped = true;
  impl_->changed.notify_all();
  if (impl_->client) impl_->client->interrupt();
}

SecretPublisher::SecretPublisher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SecretPublisher::SecretPublisher(SecretPublisher&&) noexcept = default;
SecretPublisher& SecretPublisher::operator=(SecretPublisher&&) noexcept = default;
SecretPublisher::~SecretPublisher() = default;

}  // namespace roster::kubernetes
