#pragma once

#include <map>
#include <mutex>
#include <set>
#include <span>

#include "base/ids.h"
#include "base/metrics.h"
#include "base/time.h"
#include "directory/types.h"

namespace roster::hub {

/// How far each node has come, fresher than what the directory has stored: for metrics.
/// Thread-safe.
class NodeTracker {
 public:
  /// `node` asked for what comes after `seq`, which it has published.
  void acknowledged(directory::NodeN node, Seq seq, Timestamp now);

  /// Sets `roster_feed_nodes{org}` (asked within the last three minutes) and
  /// `roster_node_lag_changes{org,cluster,node}`; forgets what is not in `nodes` any more.
  void publish(Metrics& metrics, std::span<const directory::Org> orgs,
               std::span<const directory::Node> nodes, Timestamp now);

 private:
  struct Contact {
    Seq acknowledged;
    Timestamp at;
  };

  std::mutex mutex_;  // guards all below
  std::map<directory::NodeN, Contact> contacts_;
  std::set<Metrics::Labels> published_;
};

}  // namespace roster::hub
