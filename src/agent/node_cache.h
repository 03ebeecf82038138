#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/config.h"
#include "agent/errors.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/time.h"
#include "feed/messages.h"
#include "nsscache/publisher.h"
#include "nsscache/served.h"

namespace roster::agent {

/// The node's cache as the agent's threads share it: one transfer at a time is collected by the
/// thread that follows the hub, while local rules take effect from another. Nothing of a transfer
/// that is not complete is ever published. Thread-safe.
class NodeCache {
 public:
  using OnPublish = std::function<void(std::uint64_t generation)>;

  /// `on_publish` is called after each new generation, without the lock.
  NodeCache(const Config& config, Clock clock, Metrics& metrics, OnPublish on_publish);

  /// Opens the cache of this view; the same again is no work, another view closes the old one.
  Result<void> open(const std::string& org, const std::string& view);

  /// Collects into the published generation (delta) or into a replacement (snapshot). What an
  /// unfinished transfer had collected is forgotten. kFailedPrecondition (kLocal) before the first
  /// set_rules(), and while not all rules are known and nothing is published: whom local accounts
  /// mask is not known then, so nobody could be served.
  Result<void> begin(feed::Kind kind);
  /// A record or removal. In a delta, kFailedPrecondition (kGoesBack) for a record that is older
  /// than the published one.
  Result<void> apply(feed::Message message);
  /// All has come up to `cursor`. kFailedPrecondition (kShrinks) when a replacement takes away more
  /// than 20 % and at least 10 records of a map without removals that explain it, unless
  /// `shrink_ok`; the transfer is forgotten then.
  Result<void> complete(std::string cursor, std::string epoch, bool shrink_ok);
  void abort();
  /// Publishes what is complete. On an error it is forgotten and readers keep what they have;
  /// kAlreadyExists (kClash) when two records share a name or an id; kFailedPrecondition
  /// (kInterrupted) when a local rule tried to publish it meanwhile and failed.
  Result<nsscache::PublishStats> publish();

  /// Whether the transfer locks somebody, removes somebody, or takes a group or a key from
  /// somebody: then publishing does not wait.
  bool takes_access_away() const;
  /// Highest uid or gid that is published or came since the start.
  std::uint32_t highest_id() const;

  /// New rules take effect at once when there is a generation (a cache that could not be opened is
  /// opened first). While records of a transfer are
  /// being collected, `urgent` ones interrupt it, others take effect with it. A delta of which
  /// nothing has come yet (a parked request) is neither in the way nor interrupted.
  Result<void> set_rules(nsscache::LocalRules rules, bool urgent);
  /// Publishes rules that could not be published before (full disk), and puts back what somebody
  /// removed from the cache directory. While records of a transfer are held, they bring it along.
  Result<void> mend();

  /// The hub confirmed that what is published is current. `hub_time`: see Publisher. False, and
  /// nothing is confirmed, when the cache was opened anew since it was opened `openings` times.
  bool touch_contact(std::uint64_t openings, std::optional<Timestamp> hub_time);
  /// When the next superseded file may be unlinked; does what is due.
  std::optional<Timestamp> remove_retired();

  struct View {
    std::uint64_t generation = 0;
    std::string org;
    std::string view;
    std::string cursor;
    std::string epoch;
    nsscache::CacheCounts counts;
    std::optional<Timestamp> contact;
    std::vector<std::string> masked;  // at most 100
    std::size_t denied_rules = 0;
    nsscache::Publisher::Reserve reserve;
  };
  View view() const;
  std::uint64_t generation() const;
  /// Rises when the cache was opened anew: what is published may be older than it was.
  std::uint64_t openings() const;
  /// Whether rules wait for the disk, or for a transfer that will bring them along.
  bool has_unpublished_rules() const;
  /// See Publisher::served: reading it holds nothing up here. kUnavailable while there is none.
  Result<nsscache::ServedGeneration> served() const;
  /// Of the published generation, masked or not.
  std::optional<posix::NodeUser> find_user(std::string_view login) const;
  /// Whether a login of this name resolves to a person of the published generation on this node.
  bool serves_user(std::string_view login) const;

 private:
  enum class Stage { kIdle, kCollecting, kComplete };

  Result<nsscache::PublishStats> publish_locked();
  void publish_leavers_locked();
  void announce_since(std::uint64_t before, std::unique_lock<std::mutex> lock);
  Result<void> open_locked();
  Result<void> reopen_closed_locked();
  void reopen_damaged_locked(const Error& error);
  void reopen_locked(const Error& error);
  nsscache::Urgency urgency_locked() const;
  bool holds_records_locked() const;
  void forget_locked();
  Result<void> apply_record_locked(feed::Message&& message);
  Result<void> note_user_locked(const posix::NodeUser& user);
  Result<void> check_shrinkage_locked() const;
  void set_gauges_locked();

  const Config& config_;
  const Clock clock_;
  const OnPublish on_publish_;
  Metrics::Gauge generation_gauge_, users_gauge_, groups_gauge_, masked_gauge_, denied_gauge_,
      contact_gauge_, reserve_gauge_;
  Metrics::Histogram publish_seconds_;
  Metrics::Counter bytes_counter_, merges_counter_;

  mutable std::mutex mutex_;  // guards all below
  std::optional<nsscache::Publisher> publisher_;
  std::string org_, view_;
  std::optional<nsscache::LocalRules> rules_;  // nothing: not given yet
  bool rules_unpublished_ = false;
  std::uint64_t openings_ = 0;
  Stage stage_ = Stage::kIdle;
  feed::Kind kind_ = feed::Kind::kDelta;
  bool applied_ = false;             // something of the transfer has come
  bool transfer_published_ = false;  // the last complete one
  std::string pending_cursor_, pending_epoch_;
  bool takes_access_away_ = false;
  std::uint32_t highest_id_ = 0;
};

}  // namespace roster::agent
