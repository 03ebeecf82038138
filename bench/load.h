#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "http/transport.h"
#include "http/wire.h"

// Load on a SCIM server from one thread: the requests of all connections are driven by epoll, so
// that the client takes as little as it can of the cores that it shares with the server. Any error
// ends the program: figures of a run that went wrong are worth nothing.

namespace roster::bench {

[[noreturn]] void die(const std::string& why);

/// A SCIM service as one client with a token sees it; makes the text of whole requests.
class Service {
 public:
  /// `url`: the base, "http://HOST:PORT/base" or https; an empty `ca_file` for plain HTTP.
  Service(const std::string& url, const std::string& token_file, const std::string& ca_file);

  std::string get(std::string_view target) const;
  /// POST, PATCH: `body` is JSON.
  std::string with_body(std::string_view method, std::string_view target,
                        std::string_view body) const;
  /// Connected, TLS included.
  http::Transport connect() const;

 private:
  std::string host_;
  std::string port_;
  std::string base_;
  std::string fields_;  // " HTTP/1.1" and the header fields of every request
  std::shared_ptr<SSL_CTX> tls_;
};

/// One kept-alive connection with at most one request in flight.
class Connection {
 public:
  explicit Connection(http::Transport transport);

  void send(std::string_view request);
  /// Takes what has come; whether the answer is complete.
  bool receive();
  bool idle() const { return idle_; }
  int status() { return parser_.status(); }
  /// Of the complete answer.
  const std::string& body() const { return body_; }
  int fd() const { return transport_.fd(); }

 private:
  http::Transport transport_;
  http::ResponseParser parser_;
  std::string body_;
  std::string rest_;  // received, not yet parsed
  std::vector<char> buffer_ = std::vector<char>(256 << 10);
  bool idle_ = true;
};

/// Waits for answers on many connections.
class Poller {
 public:
  explicit Poller(std::vector<Connection>& connections);
  /// Indexes of those with something to read; none when `timeout` passed (negative: no limit).
  const std::vector<std::size_t>& wait(std::chrono::nanoseconds timeout);

 private:
  UniqueFd epoll_;
  std::vector<std::size_t> ready_;
};

/// What a run came to: one line of JSON on stdout.
class Samples {
 public:
  Samples();
  void add(std::chrono::nanoseconds latency) {
    us_.push_back(static_cast<float>(latency.count()) / 1000);
  }
  /// Requests, seconds since construction, latencies and this process's CPU time per request.
  /// `items`: of which a request has or gives many (people of a page), else as many as requests;
  /// `more`: further members, each with its comma before it.
  void print(std::string_view operation, std::size_t clients, std::uint64_t items,
             std::string_view more = {});
  std::size_t size() const { return us_.size(); }

 private:
  std::vector<float> us_;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::microseconds cpu_begin_;
};

/// Sends `count` requests over all connections, each the next one when it has its answer. `make`
/// gives the text of the n-th; `answered` sees its 2xx answer; any other status ends the program.
Samples closed_loop(std::vector<Connection>& connections, std::uint64_t count,
                    const std::function<std::string(std::uint64_t n)>& make,
                    const std::function<void(std::uint64_t n, const std::string& body)>& answered);

}  // namespace roster::bench
