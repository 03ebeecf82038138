#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/metrics.h"
#include "base/time.h"
#include "http/server.h"
#include "http/tls.h"
#include "http/worker_pool.h"

// What a server and its connections share. Internal to this room.

namespace roster::http {

/// The edge's own series; every label value is a constant of ours.
class EdgeMetrics {
 public:
  explicit EdgeMetrics(Metrics& metrics);

  /// `seconds` from the end of the request to the answer; nothing for requests that were parked.
  void answered(std::string_view method, int status, const std::string& route,
                std::optional<double> seconds);
  void rejected(std::string_view reason);
  /// A forwarded request is over; `outcome` as in docs/http.md.
  void forwarded(std::string_view outcome);

  Metrics::Gauge connections;
  Metrics::Gauge parked;
  Metrics::Gauge forwards;             // in progress
  Metrics::Histogram forward_seconds;  // until the upstream's head
  Metrics::Gauge queued;

 private:
  struct Series {
    Metrics::Counter total;
    Metrics::Histogram seconds;
  };

  Metrics& metrics_;
  std::mutex mutex_;  // guards what follows
  std::unordered_map<std::string, Series> series_;
  std::unordered_map<std::string, Metrics::Counter> rejected_;
  std::unordered_map<std::string, Metrics::Counter> forwarded_;
};

/// Set once before start(); then thread-safe as marked.
struct Edge {
  Edge(ServerOptions server_options, Handler request_handler, Metrics& registry);

  const ServerOptions options;
  const Handler handler;
  EdgeMetrics metrics;
  WorkerPool pool;

  std::atomic<std::size_t> body_bytes = 0;  // of all requests
  std::atomic<std::size_t> refusals = 0;    // connections that are being told 503
  std::atomic<bool> stopping = false;       // no new requests
  std::atomic<bool> aborting = false;       // the grace is over

  std::mutex mutex;  // guards what follows
  std::condition_variable connections_gone;
  std::size_t connections = 0;
  TlsContext tls;
};

/// IMF-fixdate of RFC 9110 5.6.7, formatted once per second. For one thread.
class HttpDate {
 public:
  const std::string& at(Timestamp now);

 private:
  std::chrono::sys_seconds second_{std::chrono::seconds(-1)};
  std::string text_;
};

}  // namespace roster::http
