#pragma once

#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>

#include "base/metrics.h"
#include "base/time.h"
#include "directory/directory.h"
#include "http/message.h"
#include "hub/node_gauges.h"

namespace roster::hub {

struct HealthOptions {
  /// Can the store read and write?
  std::function<Result<void>()> check_store;
  /// Whose file system must have room.
  std::filesystem::path data_dir;
  std::uint64_t disk_free_min = 64 << 20;
  /// Metrics name organizations, clusters and nodes: by default they are for loopback, unix sockets
  /// and operator tokens only.
  bool metrics_public = false;
  Clock clock = system_now;
};

/// `/healthz` (the process answers), `/readyz` (it can do its work), `/metrics`. Thread-safe.
class Health {
 public:
  Health(directory::Directory& directory, Metrics& metrics, HealthOptions options);

  http::Response live(const http::Request& request, http::Context& context);
  http::Response ready(const http::Request& request, http::Context& context);
  http::Response metrics(const http::Request& request, http::Context& context);

 private:
  Result<void> check();
  Result<void> check_now() const;
  Result<void> may_read_metrics(const http::Request& request, const http::Context& context);
  Result<void> collect();

  directory::Directory& directory_;
  Metrics& metrics_;
  const HealthOptions options_;

  NodeGauges gauges_;

  std::mutex mutex_;  // guards all below
  std::optional<Timestamp> checked_at_;
  Result<void> last_;
};

}  // namespace roster::hub
