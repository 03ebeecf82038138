#pragma once

#include <mutex>
#include <set>
#include <span>

#include "base/metrics.h"
#include "base/time.h"
#include "directory/types.h"

namespace roster::hub {

/// Gauges with one series per organization or node; a deleted node's series goes. Thread-safe.
class NodeGauges {
 public:
  /// Sets `roster_feed_nodes{org}` (asked within the last three minutes) and
  /// `roster_node_lag_changes{org,cluster,node}`.
  void publish(Metrics& metrics, std::span<const directory::Org> orgs,
               std::span<const directory::Node> nodes, Timestamp now);

 private:
  std::mutex mutex_;  // guards published_
  std::set<Metrics::Labels> published_;
};

}  // namespace roster::hub
