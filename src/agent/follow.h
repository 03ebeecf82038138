#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "agent/config.h"
#include "agent/feeder.h"
#include "agent/hub.h"
#include "agent/intake.h"
#include "agent/node_cache.h"
#include "agent/pause.h"
#include "agent/state.h"
#include "agent/status.h"
#include "base/backoff.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/time.h"

namespace roster::agent {

/// Follows the hub: enrols, renews, asks for deltas and snapshots, publishes (feed/FORMAT.md 3, 4).
/// One thread runs it; `stop` may come from any.
///
/// Bounds: one request at a time. Between requests that fail, or bring no progress, lies a back-off
/// from `backoff_min` to `backoff_max` with jitter (metric roster_agent_backoff_seconds); a refused
/// snapshot is downloaded again only when the hub offers another file.
class Follower final : public Feeder {
 public:
  Follower(const Config& config, StateDir state, NodeCache& cache, StatusBoard& status,
           Metrics& metrics, Clock clock, RandomBytes random);

  /// Opens the cache of an enrolment that is on disk, so that local rules apply before the hub is
  /// reached. Nothing to do before the first enrolment.
  Result<void> resume() override;
  /// Until stop(). `between` is called after each exchange with the hub.
  void run(const std::function<void()>& between) override;
  /// One pass: the node has everything that the hub had when it began, or an error says why not.
  Result<void> sync();
  void stop() override;

 private:
  using milliseconds = std::chrono::milliseconds;

  /// Where a delta begins: "since" acknowledges, "from" does not.
  struct Position {
    std::string_view parameter;
    std::string cursor;
    std::string epoch;
  };
  struct Delta {
    std::optional<feed::Reset> reset;
    feed::Head head;
    feed::End end;
    std::uint64_t records = 0;  // of all parts
  };

  Result<void> step(milliseconds wait);
  Result<void> ensure_enrolled();
  Result<void> adopt(feed::Enrollment enrollment);
  void renew_if_due();
  void take_position();
  bool must_start_anew() const;
  Result<void> begin(feed::Kind kind);

  Result<void> follow_delta(milliseconds wait);
  Result<void> accept_delta(const Delta& delta, milliseconds wait, milliseconds took);
  Result<Delta> read_delta(const Position& position, milliseconds wait);
  Result<Delta> read_part(const Position& position, const Delta& so_far, milliseconds wait);
  Result<http::ClientResponse> call(const http::ClientRequest& request);

  Result<void> follow_snapshot();
  Result<void> download_snapshot(const std::string& etag, Intake& intake);
  Result<void> catch_up(const feed::Head& snapshot_head, const feed::End& snapshot_end);
  Result<void> publish(const std::string& cursor, const std::string& epoch, bool shrink_ok,
                       bool may_wait);
  void compare_totals(const feed::End& end);
  bool is_recount_due() const;
  Result<void> recount();
  void remember_highest_id();

  void note_success();
  void set_lag();
  milliseconds note_failure(const Error& error);
  milliseconds debounce() const;

  const Config& config_;
  const StateDir state_;
  NodeCache& cache_;
  StatusBoard& status_;
  Metrics& metrics_;
  const Clock clock_;
  const RandomBytes random_;
  StopSignal stop_;
  Metrics::Gauge backoff_gauge_, seq_gauge_, hub_seq_gauge_, lag_gauge_;
  Metrics::Counter snapshots_counter_, records_counter_;

  std::mutex client_mutex_;
  std::shared_ptr<http::Client> client_;  // guarded by client_mutex_: stop() interrupts it

  // Of the following thread.
  std::optional<feed::Enrollment> enrollment_;
  std::optional<feed::Enrollment> unadopted_;  // on disk, but its cache could not be opened
  bool credential_refused_ = false;
  bool position_lost_ = false;   // only a snapshot leads on
  bool recount_wanted_ = false;  // the totals differ: a snapshot is to tell, deltas go on
  bool took_snapshot_ = false;   // the last exchange was to bring a whole snapshot
  int early_answers_ = 0;        // without records and without waiting, one after the other
  std::uint64_t openings_ = 0;   // of the cache that position_ is of
  std::string position_;         // up to here everything is published
  std::string refused_etag_;     // of the snapshot that was refused last
  Seq hub_seq_;
  std::uint32_t highest_id_ = 0;
  std::uint32_t saved_highest_id_ = 0;
  std::string state_problem_;  // as logged last
  Timestamp renew_not_before_{};
  std::optional<Timestamp> recounted_at_;
  std::optional<milliseconds> retry_after_;
  std::optional<Timestamp> hub_time_;  // of the last answer
  Backoff backoff_;
};

}  // namespace roster::agent
