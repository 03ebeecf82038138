#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"

namespace roster::http {
class Client;
}  // namespace roster::http

namespace roster::slurm {

/// A version of slurmrestd's interface, v0.0.N. Each release of Slurm serves a few.
struct ApiVersion {
  int n = 0;
  std::string text() const { return "v0.0." + std::to_string(n); }
  auto operator<=>(const ApiVersion&) const = default;
};

/// Those whose bodies we know: Slurm 22.05 (v0.0.38) to 25.11.
inline constexpr ApiVersion kOldestApi{38};
inline constexpr ApiVersion kNewestApi{45};

/// Names of versions in the paths of an OpenAPI description, rising. Reads bytes, not JSON: some
/// releases write "\/" for '/', some megabytes of it.
std::vector<ApiVersion> versions_in(std::string_view openapi);

/// The newest that both sides know. kUnsupported naming what was offered.
Result<ApiVersion> newest_common(const std::vector<ApiVersion>& offered);

/// As whom a request is made. slurmrestd takes the name and the token from the headers
/// X-SLURM-USER-NAME and X-SLURM-USER-TOKEN (rest_auth/jwt).
struct Caller {
  std::string user;
  Secret token;
};

/// One of `errors` in an answer; numbers are those of slurm/slurm_errno.h.
struct RestError {
  std::int64_t number = 0;
  std::string error;        // text of the number
  std::string description;  // what was tried
  std::string source;       // function that failed
};

/// SLURM_ERROR: 22.05 says no more of what slurmctld refuses, be it the token, nor of a slurmctld
/// that does not answer.
inline constexpr std::int64_t kUnspecified = -1;
inline constexpr std::string_view kUnspecifiedKeyword = "unspecified";
inline constexpr std::int64_t kAccessDenied = 2002;         // ESLURM_ACCESS_DENIED
inline constexpr std::int64_t kAuthenticationError = 1007;  // SLURM_PROTOCOL_AUTHENTICATION_ERROR
inline constexpr std::int64_t kDatabaseConnection = 7000;   // ESLURM_DB_CONNECTION
inline constexpr std::int64_t kJobsActive = 7001;           // ESLURM_JOBS_RUNNING_ON_ASSOC
inline constexpr std::int64_t kDefaultAccount = 7009;       // ESLURM_NO_REMOVE_DEFAULT_ACCOUNT
inline constexpr std::int64_t kNothingFound = 9003;         // ESLURM_REST_EMPTY_RESULT

/// What slurmrestd answered. A status of 200 says nothing by itself: see outcome().
struct RestAnswer {
  int status = 0;
  json::object body;  // empty when the answer was no JSON object, as of 304 and 401
  std::vector<RestError> errors;
  std::string text;  // the beginning of an answer that is no JSON, without control characters
};

/// Takes an answer apart. kDataLoss when it claims to be JSON and is not.
Result<RestAnswer> parse_answer(int status, std::string_view content_type, std::string_view body);

/// Whether what was asked for was done, whatever the status: `errors` that are not empty are a
/// failure also of a 200. kUnauthenticated when the token was refused, by slurmrestd, slurmctld or
/// slurmdbd; kPermissionDenied; kNotFound for unknown URLs and empty results; kFailedPrecondition
/// (keyword "7001" or "7009") for those; kUnavailable when a daemon behind slurmrestd is (keyword
/// kUnspecifiedKeyword: or it refused the token);
/// kInvalidArgument for what slurmrestd could not read; else kInternal. The sentence has Slurm's
/// own words.
Result<void> outcome(const RestAnswer& answer);

/// Whether the body is that of a ping, and no slurmctld or slurmdbd of it answered: slurmrestd
/// gives 200 to that, also when it is the token that was refused.
bool nobody_answers(const json::object& body);

/// "24.11.5", and the cluster's name, from `meta`; empty where it does not tell.
std::string release_of(const json::object& body);
std::string cluster_of(const json::object& body);

struct RestOptions {
  std::string endpoint;  // "unix:/path", "http://host:port", "https://host:port"
  std::optional<std::filesystem::path> ca_file;
  bool allow_plain_http = false;  // http:// beyond loopback: tokens are readable on the way
  std::chrono::milliseconds timeout{60'000};
  std::size_t body_bytes_max = 64 << 20;
};

/// Asks slurmrestd. For one thread.
class RestClient {
 public:
  static Result<RestClient> create(RestOptions options);
  ~RestClient();
  RestClient(RestClient&&) noexcept;
  RestClient& operator=(RestClient&&) noexcept;

  /// `target`: path and query, "/slurm/v0.0.42/jobs". kUnavailable when slurmrestd cannot be
  /// reached.
  Result<RestAnswer> call(const Caller& caller, std::string_view method, std::string_view target,
                          const json::object* body = nullptr);
  /// GET whose outcome is good.
  Result<json::object> get(const Caller& caller, std::string_view target);
  /// From /openapi/v3. kUnauthenticated, kUnavailable; kUnsupported when it speaks no version at
  /// all, so that it is no slurmrestd.
  Result<std::vector<ApiVersion>> versions(const Caller& caller);

 private:
  RestClient(RestOptions options, std::unique_ptr<http::Client> client);
  RestOptions options_;
  std::unique_ptr<http::Client> client_;
};

}  // namespace roster::slurm
