#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "clusters/tokens.h"
#include "directory/directory.h"

namespace roster::clusters {

/// One step of a connection check.
struct CheckStep {
  enum class Outcome { kGood, kFailed, kSkipped };
  std::string_view name;  // "token", "endpoint", "version", "slurmctld", ...
  Outcome outcome = Outcome::kGood;
  std::string seen;  // a sentence
  std::string mend;  // of a failed step: what to do
};

struct CheckReport {
  std::vector<CheckStep> steps;
  std::string release;  // of Slurm, "24.11.5"
  std::string cluster;  // Slurm's name of it
  std::string api;      // "v0.0.42"

  bool good() const;
  /// "connection successful (slurm: 24.11.5, cluster: hpc, api: v0.0.42)", or the step that failed.
  std::string summary() const;
};

struct CheckOptions {
  /// Whom to try as: impersonation and a job. Nothing: these steps are skipped.
  std::optional<directory::User> as;
  bool job = true;  // submit one
  std::chrono::milliseconds request_timeout{10'000};
  std::chrono::milliseconds job_timeout{30'000};
  std::chrono::milliseconds job_poll{250};
  MonotonicClock monotonic = steady_now;
};

/// Tries everything that Roster needs of a cluster, in order, and believes no status: slurmrestd
/// answers 200 to a ping whose token slurmctld refused. Steps behind one that they need are
/// skipped.
CheckReport check_connection(Tokens& tokens, const directory::Cluster& cluster,
                             const CheckOptions& options);

json::object to_json(const CheckReport& report);

/// Whether slurmctld and slurmdbd both take tokens that this key of the cluster signs, so that it
/// can sign from now on. kFailedPrecondition naming who does not, and how that daemon is made to
/// read its JWKS again.
Result<void> check_key(Tokens& tokens, const directory::Cluster& cluster, std::string_view key_id);

}  // namespace roster::clusters
