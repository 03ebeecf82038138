#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/config.h"
#include "agent/feeder.h"
#include "agent/node_cache.h"
#include "agent/status.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/time.h"
#include "kubernetes/secret_publisher.h"
#include "mirror/pass.h"
#include "scim_client/interrupt.h"

namespace roster::agent {

/// Following a SCIM server by nsscache.conf instead of a hub.
struct MirrorOptions {
  std::filesystem::path conf;
  std::chrono::milliseconds interval{60'000};  // between the ends and the begins of passes
  /// How soon a lockout is tried again while another process has the lock.
  std::chrono::milliseconds lockout_retry{5'000};
  std::vector<std::string> publish;        // besides the files: "cache", "kubernetes"
  kubernetes::PublisherOptions secrets{};  // how "kubernetes" is reached
  mirror::PassOptions pass;                // local rules and targets are filled in
  std::string maps;                        // only these, comma between them; empty: the file's
};

/// Reads the configuration and does what `publish` asks for. kInvalidArgument for what is wrong
/// with either.
Result<mirror::Settings> read_mirror_settings(const MirrorOptions& options);

/// How a pass that is not ok is told by `status` and the exit status.
Error failure_of(const mirror::PassResult& result);

class KubernetesTarget;

/// Passes one after the other, into the files and into the node's cache. When the deny file
/// changes, a pass that waits for the server begins anew and the next one is due: who is denied is
/// locked before the server is asked.
class MirrorFeeder final : public Feeder {
 public:
  MirrorFeeder(const Config& config, MirrorOptions options, NodeCache& cache, StatusBoard& status,
               Metrics& metrics, Clock clock);
  ~MirrorFeeder() override;

  Result<void> resume() override;
  void run(const std::function<void()>& between) override;
  void stop() override;
  void denials_changed() override;

  /// One pass under the lock of nsscache. kAlreadyExists (kLocal) while another one runs. What else
  /// keeps it from asking the server does not keep it from locking whom this node denies, once
  /// resume() has read the configuration.
  Result<mirror::PassResult> pass();

 private:
  Result<void> open_secrets();
  void tell_of(const mirror::PassResult& result);
  void tell_left_out(const Error& error);

  const Config& config_;
  const MirrorOptions options_;
  NodeCache& cache_;
  StatusBoard& status_;
  Metrics& metrics_;
  const Clock clock_;
  std::atomic<bool> stopped_{false};
  scim_client::Interrupt interrupt_;  // stopped, or a pass is due at once
  std::atomic<bool> denied_{false};   // whom the deny file names now is to be locked
  unsigned left_out_ = 0;             // passes, one after the other, because somebody had the lock
  std::optional<mirror::Settings> settings_;  // as they could be read last
  std::unique_ptr<mirror::Target> cache_target_;
  std::mutex mutex_;                           // for who stops
  std::unique_ptr<KubernetesTarget> secrets_;  // set by resume()
};

/// One pass without a running agent.
Result<mirror::PassResult> mirror_once(const Config& config, const MirrorOptions& options,
                                       Metrics& metrics, Clock clock);

}  // namespace roster::agent
