#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/metrics.h"
#include "directory/directory.h"
#include "feed/messages.h"
#include "http/message.h"
#include "hub/access.h"
#include "hub/delta_cache.h"
#include "hub/feed_query.h"
#include "hub/restore_guard.h"

namespace roster::hub {

/// Key under which parked requests for an organization's changes wait; the value is its head.
std::string feed_wait_key(std::string_view org_slug);

struct FeedOptions {
  RandomBytes random = system_random;
  /// Rows of change that one part reads: one short read transaction.
  std::size_t part_changes_max = 1'000;
  std::size_t cache_bytes_max = 64 << 20;
};

/// `GET /api/organizations/{org}/feed` (feed/FORMAT.md 3.1, 3.2). Thread-safe.
class FeedServer {
 public:
  FeedServer(directory::Directory& directory, Metrics& metrics, RestoreGuard& guard,
             FeedOptions options);

  http::Response serve(const http::Request& request, http::Context& context,
                       std::string_view org_slug);

 private:
  /// Why a cursor cannot be continued.
  struct Refusal {
    std::string_view label;  // of roster_feed_resets_total
    std::string reason;
  };

  Result<std::optional<Refusal>> check(const NodeAccess& access, const feed::Cursor& cursor,
                                       const FeedQuery& query);
  Result<bool> remember_ids(const NodeAccess& access, const FeedQuery& query);
  Result<void> pass_over_ids(directory::OrgN org, std::uint32_t highest_id);
  Result<Refusal> diverged(const NodeAccess& access, const FeedQuery& query);
  void acknowledge(const NodeAccess& access, const feed::Cursor& cursor, const FeedQuery& query);
  http::Response reset(const Refusal& refusal);
  Result<http::Response> changes(const NodeAccess& access, const feed::Cursor& cursor,
                                 const FeedQuery& query);
  std::chrono::milliseconds parking_time(std::chrono::seconds wait) const;

  directory::Directory& directory_;
  Metrics& metrics_;
  RestoreGuard& guard_;
  const FeedOptions options_;
  DeltaCache cache_;
  Metrics::Counter rendered_;
  Metrics::Counter served_;

  std::mutex mutex_;  // guards all below
  /// Organizations that got a new epoch from this process.
  std::set<directory::OrgN> renewed_;
  /// Highest imported id below which no more ids are given out since then, by organization.
  std::map<directory::OrgN, std::uint32_t> passed_over_;
  /// Highest id that a node of another history named, by organization.
  std::map<directory::OrgN, std::uint32_t> lifted_;
};

}  // namespace roster::hub
