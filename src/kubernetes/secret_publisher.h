#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "kubernetes/service_account.h"

namespace roster::kubernetes {

/// One map in the form that libnss-cache reads.
struct MapText {
  std::string name;  // "passwd"; becomes Secret PREFIX + name, key name + ".cache"
  std::string_view bytes;
};

struct PublisherOptions {
  std::string api_url;         // empty: by KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT
  std::string namespace_name;  // empty: the pod's
  std::string secret_prefix = "slurm-nsscache-";
  std::string field_manager = "roster-agent";  // 1 to 128 bytes of printable ASCII
  /// Take over a key that another field manager owns, instead of reporting the conflict.
  bool force = false;
  std::filesystem::path service_account = kServiceAccountDirectory;
  std::chrono::milliseconds request_timeout{15'000};
  std::chrono::milliseconds pass_timeout{120'000};  // no new try of any map after that
  unsigned attempts_max = 6;                        // of one map in one pass
  std::chrono::milliseconds backoff_min{250};       // doubles, with jitter, to
  std::chrono::milliseconds backoff_max{10'000};
  std::chrono::milliseconds retry_after_max{30'000};  // a longer Retry-After ends the pass
  MonotonicClock clock = steady_now;
  RandomBytes random = system_random;
  /// Waits; true when it was stopped meanwhile. By default the time passes, or interrupt() ends it.
  std::function<bool(std::chrono::milliseconds)> pause;
};

enum class Outcome { kUnchanged, kCreated, kUpdated, kFailed };

/// "unchanged", "created", "updated", "failed".
std::string_view outcome_name(Outcome outcome);

struct MapReport {
  std::string map;
  std::string secret;     // its name
  std::size_t bytes = 0;  // of the map
  Outcome outcome = Outcome::kFailed;
  std::optional<Error> error;  // with kFailed: what is wrong and how to mend it
};

struct PublishReport {
  std::vector<MapReport> maps;  // in the order they were given
  bool ok() const;              // none failed
};

/// Publishes maps as Secrets through the API server of the cluster this pod runs in, by server-side
/// apply (stable since Kubernetes 1.22) as one field manager that owns nothing but its key.
///
/// A Secret is read first and written only when the key's bytes differ, and only over the
/// resourceVersion that was read: two publishers cannot overwrite each other unseen. What may pass
/// is tried again within bounds: 401 (with the token that is on disk by then), 409, 410, 429 and
/// 5xx (by Retry-After, else with back-off), and lost connections. A map that cannot be published
/// does not hold back the others. Neither token nor data reach a log or an error.
///
/// One thread at a time, except interrupt().
class SecretPublisher {
 public:
  /// kFailedPrecondition outside of a pod or without a service account; kInvalidArgument naming the
  /// option that cannot be used. Does not connect.
  static Result<SecretPublisher> create(PublisherOptions options);

  SecretPublisher(SecretPublisher&&) noexcept;
  SecretPublisher& operator=(SecretPublisher&&) noexcept;
  ~SecretPublisher();

  /// One pass. The codes of a map's error: kTooLarge (over 1 MiB: kSecretBytesMax),
  /// kInvalidArgument (a name, or refused by the server's validation), kFailedPrecondition (another
  /// manager's, or immutable), kPermissionDenied, kUnauthenticated, kNotFound (the namespace),
  /// kUnavailable. When the server cannot be reached or refuses the credential, later maps are not
  /// tried.
  PublishReport publish(std::span<const MapText> maps);

  /// Ends a running publish() and every later one with kUnavailable. From any thread.
  void interrupt();

 private:
  struct Impl;
  explicit SecretPublisher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roster::kubernetes
