#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "http/client.h"
#include "http/tls.h"
#include "http/transport.h"
#include "http/upstream.h"

// What the edge keeps of an upstream between requests. Internal to this room.

namespace roster::http {

class UpstreamPool {
 public:
  using Time = std::chrono::steady_clock::time_point;

  UpstreamPool(UpstreamOptions upstream_options, Url upstream_url, TlsContext context);

  const UpstreamOptions options;
  const Url url;
  const TlsContext tls;  // null for plain

  struct Leave {
    void operator()(UpstreamPool* pool) const { --pool->forwards_; }
  };
  /// One request in progress.
  using Slot = std::unique_ptr<UpstreamPool, Leave>;
  /// Null when there are as many as there may be.
  Slot enter();

  /// The connection that was used last, if there is one.
  std::optional<Transport> take();
  /// Keeps it for `options.idle_timeout` unless there are enough. True when nobody watches over the
  /// idle connections yet: the caller then sees to it that sweep() is called.
  bool keep(Transport idle, Time now);
  /// Closes what has been idle for too long. When to come back; nothing when none is left, and then
  /// nobody watches.
  std::optional<Time> sweep(Time now);
  /// Who should have called sweep() cannot.
  void unwatch();

 private:
  struct Idle {
    Transport transport;
    Time since;
  };

  std::atomic<std::size_t> forwards_ = 0;
  std::mutex mutex_;        // guards what follows
  std::vector<Idle> idle_;  // the last one was used last
  bool watched_ = false;
};

}  // namespace roster::http
