#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/time.h"
#include "http/message.h"

namespace roster::http {

struct TlsFiles {
  std::filesystem::path certificate;  // PEM chain
  std::filesystem::path key;          // PEM
};

struct ServerOptions {
  /// "HOST:PORT" ("127.0.0.1:0" picks a port, "[::1]:8443"), or "unix:/path".
  std::vector<std::string> listen;
  /// For the TCP listeners. Without it they are plain HTTP, and only loopback is accepted.
  std::optional<TlsFiles> tls;
  mode_t unix_mode = 0600;  // of unix sockets
  unsigned io_threads = 1;
  unsigned workers = 4;
  std::size_t queue_max = 256;          // requests waiting for a worker; beyond: 503 + Retry-After
  std::size_t connections_max = 20000;  // beyond: accepted, answered 503, closed
  std::size_t header_bytes_max = 16 << 10;           // 431
  std::size_t body_bytes_max = 16 << 20;             // 413; see body_limit
  std::size_t body_memory_max = 256 << 20;           // all request bodies together; 503
  std::chrono::milliseconds header_timeout{10'000};  // 408, or close when nothing was sent
  std::chrono::milliseconds body_timeout{60'000};    // whole body; 408
  std::chrono::milliseconds idle_timeout{75'000};    // keep-alive
  std::chrono::milliseconds write_timeout{60'000};   // without progress
  std::chrono::milliseconds handshake_timeout{10'000};
  /// Smaller limit per request line, decided before the body is read.
  std::function<std::size_t(const std::string& method, const std::string& path)> body_limit;
  /// Requests whose handler is done in microseconds: while a single client sends them, they are
  /// answered on the io thread, which spares two changes of threads. When one takes more than 5 ms
  /// all the same (a disk that is busy), workers take them for twenty times as long. None by
  /// default; for handlers that look something up on this machine only.
  std::function<bool(const Request&)> is_quick;
  /// For what the edge refuses itself; text by default. It adds Retry-After to 503.
  Refusal refusal;
  Clock clock = system_now;            // for Date and request ids
  RandomBytes random = system_random;  // for request ids
};

class ServerImpl;

/// HTTP/1.1 server: TLS 1.2 and 1.3, keep-alive, limits, parked requests, graceful stop.
class Server {
 public:
  /// Binds and listens; nothing is served before start(). kInvalidArgument for a bad address or
  /// certificate, kUnavailable when the port is taken.
  static Result<std::unique_ptr<Server>> create(ServerOptions options, Handler handler,
                                                Metrics& metrics);
  /// Stops without grace.
  ~Server();

  /// Real addresses, in the order of ServerOptions::listen, e.g. "127.0.0.1:40123".
  std::vector<std::string> addresses() const;
  void start();
  /// Wakes the parked requests with this key whose `after` is below `value`, and those that are
  /// about to park. Call it after the change is visible to handlers. Thread-safe, cheap.
  void notify(const std::string& key, std::uint64_t value);
  /// New connections use the files' present content; the old one stays on an error.
  Result<void> reload_certificate();
  /// Stops accepting, answers what has begun (parked requests at once, as expired), then closes.
  /// Returns when all is closed or after `grace`.
  void stop(std::chrono::milliseconds grace);

 private:
  explicit Server(std::unique_ptr<ServerImpl> impl);
  std::unique_ptr<ServerImpl> impl_;
};

}  // namespace roster::http
