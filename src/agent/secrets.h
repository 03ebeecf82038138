#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/node_cache.h"
#include "agent/pause.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/time.h"
#include "kubernetes/secret_publisher.h"
#include "mirror/roll.h"
#include "mirror/settings.h"

namespace roster::agent {

/// Publishes maps as Secrets of the Kubernetes cluster that this pod runs in, and says in the log
/// what changed.
class SecretMaps {
 public:
  SecretMaps(kubernetes::SecretPublisher publisher, Metrics& metrics);

  /// The maps of `settings`. The first error when not all could be published; the others are.
  Result<void> publish(const mirror::Settings& settings, const mirror::Roll& roll);
  /// The same from their files, as they are.
  Result<void> publish_files(const mirror::Settings& settings);
  void interrupt() { publisher_.interrupt(); }

 private:
  /// `texts`: in the order of the maps.
  Result<void> publish(const mirror::Settings& settings, const std::vector<std::string>& texts);

  kubernetes::SecretPublisher publisher_;
  Metrics& metrics_;
};

/// Gives each generation of the node's cache to SecretMaps, on a thread of its own: soon after it
/// was published, and every minute, for what ends by time and for what somebody changed there.
class SecretFollower {
 public:
  SecretFollower(const NodeCache& cache, SecretMaps secrets, Clock clock);
  ~SecretFollower();
  SecretFollower(const SecretFollower&) = delete;
  SecretFollower& operator=(const SecretFollower&) = delete;

  void start();
  /// There is a new generation. From any thread.
  void notify();
  void stop();

 private:
  void run();
  Result<void> publish();

  const NodeCache& cache_;
  SecretMaps secrets_;
  const Clock clock_;
  const mirror::Settings settings_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool notified_ = false;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace roster::agent
