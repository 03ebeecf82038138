#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"

namespace roster::http {

struct UpstreamOptions {
  /// What it is, for callers and the log, e.g. "slurmrestd of cluster hpc". Answers that could not
  /// be had name it, and not the URL.
  std::string name;
  /// "unix:/path", "https://host:port/base" or "http://...", as ClientOptions::url.
  std::string url;
  std::optional<std::filesystem::path> ca_file;  // these four as in ClientOptions
  std::string ca_pem;
  std::string ca_sha256;
  bool allow_plain_http = false;
  std::string user_agent = "roster";
  std::size_t forwards_max = 64;  // at once; beyond: 503 + Retry-After
  std::size_t idle_max = 16;      // connections kept for the next request
  std::chrono::milliseconds idle_timeout{30'000};
};

class UpstreamPool;

/// A server that requests are forwarded to (ForwardBody), with its kept-alive connections and the
/// count of requests in progress. Thread-safe. Make one per server, not per request: handlers share
/// it. One that nobody holds any more closes its idle connections.
class Upstream {
 public:
  /// Connects to nothing yet. kInvalidArgument for a bad URL, unusable authorities, or plain
  /// http:// to another machine.
  static Result<std::shared_ptr<Upstream>> create(UpstreamOptions options);
  ~Upstream();

  /// For the edge.
  UpstreamPool& pool() { return *pool_; }

 private:
  explicit Upstream(std::unique_ptr<UpstreamPool> pool);
  std::unique_ptr<UpstreamPool> pool_;
};

}  // namespace roster::http
