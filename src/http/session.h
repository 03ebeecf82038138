#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>

#include "base/ids.h"
#include "http/edge.h"
#include "http/socket.h"
#include "http/transport.h"
#include "http/wait_table.h"
#include "http/wire.h"

namespace roster::http {

class Session;

/// An answer of the edge's own, in the form that the path's clients read.
Response rejection(const Refusal& refusal, std::string_view path, const Reject& why);
/// Whether it can be put on the wire as it is; neither a wait nor a forward can.
bool is_sendable(const Response& response);
/// Nothing when the length is not known beforehand, or there is no body at all.
std::optional<std::uint64_t> body_length(const Response& response);

/// One io thread and its connections. Everything here is touched by that thread only, `io` apart.
struct Shard {
  explicit Shard(const ServerOptions& options) : ids(options.clock, options.random) {}

  static constexpr std::size_t kScratchBytes = 64 << 10;
  static constexpr std::size_t kIdleKeysMax = 4096;

  // Destroyed after `io`, whose end destroys the sessions that are left.
  std::unordered_set<Session*> sessions;
  WaitTable<std::weak_ptr<Session>> waits{kIdleKeysMax};
  UuidGenerator ids;
  HttpDate date;
  const Session* last = nullptr;                      // that had a request
  std::chrono::steady_clock::time_point quick_after;  // until then quick requests go to workers
  // Reads land here and only what must wait is copied, so that an idle connection has no buffer.
  std::array<char, kScratchBytes> scratch{};

  boost::asio::io_context io{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work;
  std::thread thread;
};

/// What is known about a connection when it is accepted.
struct Accepted {
  UniqueFd fd;
  SslPtr ssl;  // null for plain
  std::string remote;
  std::optional<PeerCredentials> credentials;
  bool refuse = false;  // too many connections: answer 503 and close
};

/// One connection: a coroutine on its shard's thread. Only the handler runs elsewhere, while the
/// coroutine waits for it, unless the request is quick.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Edge& edge, Shard& shard, Accepted accepted);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Serves until the connection ends.
  boost::asio::awaitable<void> run();

  // On the shard's thread:
  void wake();   // the key of the parked request was notified
  void drain();  // the server stops: idle connections end, parked requests are answered
  void abort();  // the server stops now

 private:
  template <typename T>
  using Awaitable = boost::asio::awaitable<T>;
  using SteadyTime = std::chrono::steady_clock::time_point;
  using WaitType = boost::asio::posix::stream_descriptor::wait_type;

  friend class Forwarder;

  enum class Phase { kIdle, kBusy, kParked };
  enum class Ready { kYes, kTimeout, kCancelled };
  enum class Fill { kData, kTimeout, kClosed };
  enum class Woken { kNotified, kExpired, kGone };

  Awaitable<bool> handshake();
  Awaitable<bool> serve_one();
  Awaitable<bool> read_head();
  Awaitable<bool> read_body();
  Awaitable<bool> answer();
  Awaitable<Woken> park(WaitBody wait, std::uint64_t evictions);
  Awaitable<bool> send();
  Awaitable<bool> send_file(FileBody file);
  Awaitable<bool> send_chunks(ChunksBody chunks);
  Awaitable<bool> forward();
  Awaitable<void> reject(Reject why);
  Awaitable<void> linger();

  Awaitable<Ready> wait(WaitType type, SteadyTime deadline);
  Awaitable<Ready> wait_for(Transport::State state, SteadyTime deadline);
  Awaitable<Fill> fill(SteadyTime deadline);
  Awaitable<bool> write(std::string_view bytes);
  Awaitable<bool> on_worker(std::move_only_function<void()> work, Work kind);
  Work work_of_handler() const;
  bool runs_here();
  void call_handler_here();
  Awaitable<void> breathe(std::size_t bytes);

  std::optional<Reject> admit();
  bool reserve_body(std::size_t bytes);
  void release_body();
  void call_handler();
  std::string response_head(std::optional<std::uint64_t> length);
  Transport::State look_at_caller();
  void other_ready(std::uint64_t number);
  void finished(SteadyTime begin);
  void reset_on_close();

  Edge& edge_;
  Shard& shard_;
  Transport transport_;
  boost::asio::posix::stream_descriptor descriptor_;
  boost::asio::steady_timer timer_;
  std::uint64_t wait_number_ = 0;
  bool timed_out_ = false;
  // Another descriptor that is waited for together with ours: its being ready cancels our wait.
  std::uint64_t other_wait_ = 0;
  bool other_ready_ = false;

  Phase phase_ = Phase::kIdle;
  bool refuse_;
  bool first_request_ = true;
  bool woken_ = false;
  std::string in_;  // read, not yet used
  std::size_t burst_ = 0;

  std::optional<RequestParser> parser_;  // while a request is read
  RequestHead head_;
  const Context peer_;  // what every request of this connection begins with
  Context context_;
  Response response_;
  std::size_t body_reserved_ = 0;
  bool keep_alive_ = false;
  bool broken_ = false;  // the peer must not take what it got for all
};

}  // namespace roster::http
