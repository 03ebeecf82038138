#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/node_cache.h"
#include "base/metrics.h"
#include "base/time.h"
#include "feed/enrollment.h"

namespace roster::agent {

enum class Phase {
  kStarting,
  kEnrolling,    // no credential yet
  kFollowing,    // the last exchange with the hub succeeded
  kUnreachable,  // it did not; what is published goes on being served
  kRefused,      // the hub's data was refused; an operator must look
};
std::string_view phase_name(Phase phase);

/// What the agent tells about itself. Thread-safe.
class StatusBoard {
 public:
  explicit StatusBoard(std::string hub_url) : hub_url_(std::move(hub_url)) {}

  void set_enrollment(const feed::Enrollment& enrollment);
  void set_phase(Phase phase);
  Phase phase() const;
  /// `error` is kept with its time until the next success.
  void set_failure(Phase phase, const Error& error, Timestamp now);
  void set_hub_seq(Seq seq);
  void set_position(std::string cursor);
  void set_highest_id(std::uint32_t id);
  /// Of the state directory; empty: it can be written.
  void set_state_problem(std::string problem);
  /// The JSON of the last pass (mirror::PassResult::to_json).
  void set_mirror(std::string pass);
  /// `known`: every local file was understood once.
  void set_rule_problems(std::vector<std::string> problems, bool known);

  /// The JSON of `roster-agent status --output json`.
  std::string to_json(const NodeCache::View& cache, Timestamp now) const;

 private:
  const std::string hub_url_;
  mutable std::mutex mutex_;  // guards all below
  Phase phase_ = Phase::kStarting;
  std::string node_id_, cluster_, role_;
  std::optional<Timestamp> credential_expires_;
  std::string last_error_;
  std::string_view last_error_code_;
  std::optional<Timestamp> failing_since_;
  Seq hub_seq_;
  std::string position_;
  std::uint32_t highest_id_ = 0;
  std::string state_problem_;
  std::string mirror_;  // empty: a hub is followed
  std::vector<std::string> rule_problems_;
  bool rules_known_ = false;
};

}  // namespace roster::agent
