#include "http/session.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <exception>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/unicode.h"
#include "http/respond.h"

namespace roster::http {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A connection that could move data forever lets the others have a turn after so many bytes.
constexpr std::size_t kBurstBytes = 1 << 20;
constexpr std::size_t kJoinBytesMax = 32 << 10;  // smaller bodies travel with their head
constexpr milliseconds kLinger{2'000};
constexpr milliseconds kWaitMax{3'600'000};
// A quick request that took longer held up everybody on its thread: none runs there for a while.
constexpr milliseconds kQuickMax{5};
constexpr int kQuickPauseFactor = 20;
// So many of a client that sends ahead without our seeing it (TLS) before the others have a turn.
constexpr std::size_t kQuickBurst = 8;

constexpr Reject kRequestTimeout{408, "timeout", "The request took too long to arrive."};
constexpr Reject kBodyTooLarge{413, "body_too_large", "The request's body is too large."};
constexpr Reject kExpectation{417, "expectation", "Only \"100-continue\" is supported in Expect."};
constexpr Reject kNoMemory{503, "memory", "Too many large requests; try again soon."};
constexpr Reject kNoWorker{503, "queue_full", "Too many requests; try again soon."};
constexpr Reject kStopping{503, "stopping", "The server is stopping; try again soon."};
constexpr Reject kNoConnection{503, "connections", "Too many connections; try again soon."};

bool has_no_body(int status) { return status / 100 == 1 || status == 204 || status == 304; }

bool edge_owns(std::string_view name) {
  for (const std::string_view owned : {"Content-Length", "Transfer-Encoding", "Connection",
                                       "Keep-Alive", "Date", "X-Request-Id"}) {
    if (ascii_iequals(name, owned)) return true;
  }
  return false;
}

void add_field(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ").append(value).append("\r\n");
}

std::string_view bytes_of(const Body& body) {
  if (const auto* text = std::get_if<std::string>(&body)) return *text;
  if (const auto* shared = std::get_if<SharedBytes>(&body); shared != nullptr && *shared) {
    return **shared;
  }
  return {};
}

Context peer_context(std::string remote, std::optional<PeerCredentials> credentials, bool tls) {
  Context context;
  context.remote = std::move(remote);
  context.credentials = credentials;
  context.tls = tls;
  return context;
}

}  // namespace

Response rejection(const Refusal& refusal, std::string_view path, const Reject& why) {
  Response response =
      refusal ? refusal(path, why.status, why.sentence) : text_response(why.status, why.sentence);
  if (why.status == 503) response.headers.set("Retry-After", "1");
  return response;
}

bool is_sendable(const Response& response) {
  return response.status >= 200 && response.status <= 599 &&
         !std::holds_alternative<WaitBody>(response.body) &&
         !std::holds_alternative<ForwardBody>(response.body) &&
         std::ranges::all_of(response.headers.all(), [](const auto& field) {
           return is_token(field.first) && is_field_value(field.second);
         });
}

std::optional<std::uint64_t> body_length(const Response& response) {
  if (has_no_body(response.status)) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(&response.body)) return text->size();
  if (const auto* shared = std::get_if<SharedBytes>(&response.body)) {
    return *shared ? (*shared)->size() : 0;
  }
  if (const auto* file = std::get_if<FileBody>(&response.body)) return file->size;
  return std::nullopt;
}

Session::Session(Edge& edge, Shard& shard, Accepted accepted)
    : edge_(edge),
      shard_(shard),
      transport_(std::move(accepted.fd), std::move(accepted.ssl)),
      descriptor_(shard.io, transport_.fd()),
      timer_(shard.io),
      refuse_(accepted.refuse),
      peer_(peer_context(std::move(accepted.remote), accepted.credentials, transport_.tls())) {
  shard_.sessions.insert(this);
  edge_.metrics.connections.add(1);
}

Session::~Session() {
  release_body();
  if (shard_.last == this) shard_.last = nullptr;
  descriptor_.release();  // the transport closes it
  shard_.sessions.erase(this);
  edge_.metrics.connections.add(-1);
  if (refuse_) --edge_.refusals;
  const std::lock_guard lock(edge_.mutex);
  if (--edge_.connections == 0) edge_.connections_gone.notify_all();
}

Session::Awaitable<void> Session::run() {
  const auto self = shared_from_this();
  try {
    if (co_await handshake()) {
      if (refuse_) {
        co_await reject(kNoConnection);
      } else {
        while (co_await serve_one()) {
        }
      }
      broken_ ? reset_on_close() : transport_.say_goodbye();
    }
  } catch (const std::exception& error) {
    log::error("HTTP connection failed", {{"remote", peer_.remote}, {"error", error.what()}});
  }
  timer_.cancel();
}

void Session::wake() {
  woken_ = true;
  descriptor_.cancel();
}

void Session::drain() {
  if (phase_ != Phase::kBusy) descriptor_.cancel();
}

void Session::abort() { descriptor_.cancel(); }

// ---- waiting ----

Session::Awaitable<Session::Ready> Session::wait(WaitType type, SteadyTime deadline) {
  if (edge_.aborting) co_return Ready::kCancelled;
  burst_ = 0;
  timed_out_ = false;
  const std::uint64_t number = ++wait_number_;
  timer_.expires_at(deadline);
  timer_.async_wait([self = shared_from_this(), number](const boost::system::error_code& error) {
    if (error || number != self->wait_number_) return;
    self->timed_out_ = true;
    self->descriptor_.cancel();
  });
  const auto [error] = co_await descriptor_.async_wait(type, asio::as_tuple(asio::use_awaitable));
  ++wait_number_;
  timer_.cancel();
  if (!error) co_return Ready::kYes;
  co_return timed_out_ ? Ready::kTimeout : Ready::kCancelled;
}

Session::Awaitable<Session::Ready> Session::wait_for(Transport::State state, SteadyTime deadline) {
  const bool write = state == Transport::State::kWantWrite;
  co_return co_await wait(write ? WaitType::wait_write : WaitType::wait_read, deadline);
}

Session::Awaitable<void> Session::breathe(std::size_t bytes) {
  burst_ += bytes;
  if (burst_ < kBurstBytes) co_return;
  burst_ = 0;
  co_await asio::post(shard_.io, asio::use_awaitable);
}

/// Takes what the caller sends ahead, which waits here. What to wait for to see more; kEof or
/// kError when it went away; kDone when it has sent more than a header's worth.
Transport::State Session::look_at_caller() {
  while (in_.size() <= edge_.options.header_bytes_max) {
    const Transport::Io io = transport_.read(shard_.scratch);
    in_.append(shard_.scratch.data(), io.bytes);
    if (io.state != Transport::State::kDone) return io.state;
  }
  return Transport::State::kDone;
}

void Session::other_ready(std::uint64_t number) {
  if (number != other_wait_) return;  // a wait that is over
  other_ready_ = true;
  descriptor_.cancel();
}

Session::Awaitable<Session::Fill> Session::fill(SteadyTime deadline) {
  while (true) {
    const Transport::Io io = transport_.read(shard_.scratch);
    switch (io.state) {
      case Transport::State::kDone:
        in_.append(shard_.scratch.data(), io.bytes);
        co_await breathe(io.bytes);
        // A peer that trickles is always ready in time: the deadline holds for it, too.
        co_return steady_clock::now() < deadline ? Fill::kData : Fill::kTimeout;
      case Transport::State::kEof:
      case Transport::State::kError:
        co_return Fill::kClosed;
      case Transport::State::kWantRead:
      case Transport::State::kWantWrite:
        break;
    }
    const Ready ready = co_await wait_for(io.state, deadline);
    if (ready != Ready::kYes) co_return ready == Ready::kTimeout ? Fill::kTimeout : Fill::kClosed;
  }
}

Session::Awaitable<bool> Session::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const Transport::Io io = transport_.write(bytes);
    switch (io.state) {
      case Transport::State::kDone:
        bytes.remove_prefix(io.bytes);
        co_await breathe(io.bytes);
        continue;
      case Transport::State::kEof:
      case Transport::State::kError:
        co_return false;
      case Transport::State::kWantRead:
      case Transport::State::kWantWrite:
        break;
    }
    const SteadyTime deadline = steady_clock::now() + edge_.options.write_timeout;
    const Ready ready = co_await wait_for(io.state, deadline);
    if (ready != Ready::kYes) co_return false;
  }
  co_return true;
}

Session::Awaitable<bool> Session::on_worker(std::move_only_function<void()> work, Work kind) {
  burst_ = 0;
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(bool)>(
      [this, kind, task = std::move(work)](auto handler) mutable {
        // The handler may be dropped with its job when the server stops: it then destroys the
        // coroutine, after the io threads have ended.
        WorkerPool::Job job = [this, inner = std::move(task),
                               done = std::move(handler)](bool run) mutable {
          if (run) inner();
          asio::post(shard_.io, [run, done = std::move(done)]() mutable { std::move(done)(run); });
        };
        if (kind == Work::kContinuation) {
          edge_.pool.submit_continuation(std::move(job));
        } else if (!edge_.pool.submit(job, kind)) {
          job(false);
        }
      },
      asio::use_awaitable);
}

// ---- reading a request ----

Session::Awaitable<bool> Session::handshake() {
  const SteadyTime deadline = steady_clock::now() + edge_.options.handshake_timeout;
  while (!edge_.stopping) {
    const Transport::Io io = transport_.handshake();
    if (io.state == Transport::State::kDone) co_return true;
    const bool wants =
        io.state == Transport::State::kWantRead || io.state == Transport::State::kWantWrite;
    if (!wants || co_await wait_for(io.state, deadline) != Ready::kYes) {
      edge_.metrics.rejected("handshake");
      log::debug("TLS handshake failed", {{"remote", peer_.remote}, {"error", transport_.error()}});
      break;
    }
  }
  co_return false;
}

Session::Awaitable<bool> Session::serve_one() {
  parser_.emplace(edge_.options.header_bytes_max);
  if (!co_await read_head() || !co_await read_body()) co_return false;
  head_ = parser_->take();
  parser_.reset();
  if (in_.empty()) in_ = std::string();
  const bool more = co_await answer();
  head_ = RequestHead();
  response_ = Response();
  release_body();
  co_return more;
}

Session::Awaitable<bool> Session::read_head() {
  const ServerOptions& options = edge_.options;
  phase_ = Phase::kIdle;
  bool begun = !in_.empty();
  SteadyTime deadline = steady_clock::now() +
                        (begun || first_request_ ? options.header_timeout : options.idle_timeout);
  first_request_ = false;
  while (true) {
    while (!in_.empty() && !parser_->head_done()) {
      const auto used = parser_->put(in_);
      if (!used) {
        co_await reject(used.error());
        co_return false;
      }
      if (*used == 0) break;
      in_.erase(0, *used);
    }
    if (parser_->head_done()) break;
    if (!begun && edge_.stopping) co_return false;
    const Fill got = co_await fill(deadline);
    if (got == Fill::kTimeout && begun) co_await reject(kRequestTimeout);
    if (got != Fill::kData) co_return false;
    if (!begun) deadline = steady_clock::now() + options.header_timeout;
    begun = true;
    phase_ = Phase::kBusy;
  }
  phase_ = Phase::kBusy;
  co_return true;
}

std::optional<Reject> Session::admit() {
  const ServerOptions& options = edge_.options;
  const RequestHead& head = parser_->head();
  std::size_t limit = options.body_bytes_max;
  if (options.body_limit) {
    limit = std::min(limit, options.body_limit(head.request.method, head.request.path));
  }
  if (head.content_length.value_or(0) > limit) return kBodyTooLarge;
  const std::string_view expect = head.request.headers.get("Expect");
  if (!expect.empty() && head.http_1_1 && !ascii_iequals(expect, "100-continue")) {
    return kExpectation;
  }
  parser_->limit_body(limit);
  return std::nullopt;
}

bool Session::reserve_body(std::size_t bytes) {
  if (bytes <= body_reserved_) return true;
  const std::size_t more = bytes - body_reserved_;
  const std::size_t before = edge_.body_bytes.fetch_add(more);
  body_reserved_ = bytes;
  return before + more <= edge_.options.body_memory_max;
}

void Session::release_body() {
  edge_.body_bytes -= body_reserved_;
  body_reserved_ = 0;
}

Session::Awaitable<bool> Session::read_body() {
  if (const auto why = admit()) {
    co_await reject(*why);
    co_return false;
  }
  if (parser_->done()) co_return true;
  const RequestHead& head = parser_->head();
  if (head.http_1_1 && in_.empty() && head.request.headers.has("Expect")) {
    if (!co_await write("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
  }
  const SteadyTime deadline = steady_clock::now() + edge_.options.body_timeout;
  while (true) {
    if (!in_.empty()) {
      const auto used = parser_->put(in_);
      const bool fits = used && reserve_body(parser_->body_bytes());
      if (!fits) {
        co_await reject(used ? kNoMemory : used.error());
        co_return false;
      }
      in_.erase(0, *used);
    }
    if (parser_->done()) co_return true;
    const Fill got = co_await fill(deadline);
    if (got == Fill::kTimeout) co_await reject(kRequestTimeout);
    if (got != Fill::kData) co_return false;
  }
}

// ---- answering ----

void Session::call_handler() {
  try {
    response_ = edge_.handler(head_.request, context_);
  } catch (const std::exception& error) {
    log::error(
        "handler failed",
        {{"request_id", context_.request_id}, {"route", context_.route}, {"error", error.what()}});
    response_ = text_response(500, "Something went wrong.");
  }
}

Work Session::work_of_handler() const {
  if (context_.resumed) return Work::kContinuation;
  const std::string& method = head_.request.method;
  return method == "GET" || method == "HEAD" ? Work::kRead : Work::kWrite;
}

/// While a single client asks, one request after the other: then a change of threads would only
/// cost time. Of several at once, the workers answer more, and nobody waits for another's request
/// to be read.
bool Session::runs_here() {
  const bool alone = std::exchange(shard_.last, this) == this && in_.empty();
  return alone && edge_.options.is_quick && !context_.resumed &&
         steady_clock::now() >= shard_.quick_after && edge_.options.is_quick(head_.request);
}

void Session::call_handler_here() {
  const SteadyTime begin = steady_clock::now();
  call_handler();
  const SteadyTime end = steady_clock::now();
  if (end - begin > kQuickMax) shard_.quick_after = end + kQuickPauseFactor * (end - begin);
  burst_ += kBurstBytes / kQuickBurst;
}

Session::Awaitable<bool> Session::answer() {
  const SteadyTime begin = steady_clock::now();
  context_ = peer_;
  context_.request_id = shard_.ids.next();
  keep_alive_ = head_.keep_alive;
  while (true) {
    const std::uint64_t evictions = shard_.waits.evictions();
    if (runs_here()) {
      call_handler_here();
    } else if (!co_await on_worker([this] { call_handler(); }, work_of_handler())) {
      edge_.metrics.rejected(kNoWorker.reason);
      response_ = rejection(edge_.options.refusal, head_.request.path, kNoWorker);
    }
    const auto* wait_body = std::get_if<WaitBody>(&response_.body);
    if (wait_body == nullptr) break;
    if (edge_.stopping) {
      edge_.metrics.rejected(kStopping.reason);
      response_ = rejection(edge_.options.refusal, head_.request.path, kStopping);
      break;
    }
    const Woken woken = co_await park(*wait_body, evictions);
    if (woken == Woken::kGone) co_return false;
    context_.resumed = true;
    context_.wait_expired = woken == Woken::kExpired;
  }
  if (edge_.stopping) keep_alive_ = false;
  bool sent = false;
  if (std::holds_alternative<ForwardBody>(response_.body)) {
    sent = co_await forward();
  } else {
    sent = co_await send();
  }
  finished(begin);
  co_return sent&& keep_alive_;
}

Session::Awaitable<Session::Woken> Session::park(WaitBody wait_body, std::uint64_t evictions) {
  woken_ = false;
  const auto ticket =
      shard_.waits.park(wait_body.key, wait_body.after, evictions, shared_from_this());
  if (!ticket) co_return Woken::kNotified;
  const SteadyTime deadline =
      steady_clock::now() + std::clamp(wait_body.deadline, milliseconds(0), kWaitMax);
  phase_ = Phase::kParked;
  edge_.metrics.parked.add(1);
  Woken result = Woken::kNotified;
  while (!woken_) {
    if (edge_.stopping) {
      result = Woken::kExpired;
      break;
    }
    const Transport::State seen = look_at_caller();
    // One that sends more than a header's worth behind a request that waits is no client of ours.
    if (seen != Transport::State::kWantRead && seen != Transport::State::kWantWrite) {
      result = Woken::kGone;
      break;
    }
    const Ready ready = co_await wait_for(seen, deadline);
    if (ready == Ready::kTimeout) {
      result = Woken::kExpired;
      break;
    }
    if (edge_.aborting) {
      result = Woken::kGone;
      break;
    }
  }
  shard_.waits.remove(wait_body.key, *ticket);
  edge_.metrics.parked.add(-1);
  phase_ = Phase::kBusy;
  co_return result;
}

/// `length` of the body, when it is known and there is one.
std::string Session::response_head(std::optional<std::uint64_t> length) {
  std::string head = "HTTP/1.1 " + std::to_string(response_.status) + ' ';
  head.append(status_phrase(response_.status)).append("\r\n");
  add_field(head, "Date", shard_.date.at(edge_.options.clock()));
  for (const auto& [name, value] : response_.headers.all()) {
    if (!edge_owns(name)) add_field(head, name, value);
  }
  if (!response_.headers.has("X-Content-Type-Options")) {
    add_field(head, "X-Content-Type-Options", "nosniff");
  }
  if (!response_.headers.has("Cache-Control")) add_field(head, "Cache-Control", "no-store");
  add_field(head, "X-Request-Id", context_.request_id);
  if (length && !has_no_body(response_.status)) {
    add_field(head, "Content-Length", std::to_string(*length));
  } else if (!has_no_body(response_.status)) {
    if (head_.http_1_1) {
      add_field(head, "Transfer-Encoding", "chunked");
    } else {
      keep_alive_ = false;  // HTTP/1.0: the end of the connection is the end of the body
    }
  }
  if (!keep_alive_) {
    add_field(head, "Connection", "close");
  } else if (!head_.http_1_1) {
    add_field(head, "Connection", "keep-alive");
  }
  head.append("\r\n");
  return head;
}

Session::Awaitable<bool> Session::send() {
  if (!is_sendable(response_)) {
    log::error("handler made an answer that cannot be sent",
               {{"request_id", context_.request_id}, {"route", context_.route}});
    response_ = text_response(500, "Something went wrong.");
  }
  std::string head = response_head(body_length(response_));
  const bool headless = head_.request.method == "HEAD" || has_no_body(response_.status);
  const std::string_view bytes = headless ? std::string_view() : bytes_of(response_.body);
  const bool joined = bytes.size() <= kJoinBytesMax;
  if (joined) head.append(bytes);
  if (!co_await write(head)) co_return false;
  if (headless) co_return true;
  if (!joined) co_return co_await write(bytes);
  bool whole = true;
  if (const auto* file = std::get_if<FileBody>(&response_.body)) {
    whole = co_await send_file(*file);
  } else if (const auto* chunks = std::get_if<ChunksBody>(&response_.body)) {
    whole = co_await send_chunks(*chunks);
  }
  broken_ = !whole;
  co_return whole;
}

Session::Awaitable<bool> Session::send_file(FileBody file) {
  CHECK(file.fd != nullptr);
  const int fd = file.fd->get();
  std::size_t retried = 0;  // bytes that TLS began to send: at least as many must come again
  while (file.size > 0) {
    // What is in the page cache goes straight through the shared buffer: a slow reader holds no
    // memory, because what the socket did not take is read again. The disk is a worker's business.
    const std::size_t want = std::min<std::uint64_t>(file.size, Shard::kScratchBytes);
    const iovec piece{shard_.scratch.data(), want};
    ssize_t got = ::preadv2(fd, &piece, 1, static_cast<off_t>(file.offset), RWF_NOWAIT);
    if (got == 0) co_return false;  // shorter than promised
    if (got < 0 || static_cast<std::size_t>(got) < retried) {
      std::string data(want, '\0');
      const bool ran =
          co_await on_worker([fd, offset = static_cast<off_t>(file.offset), &data,
                              &got] { got = ::pread(fd, data.data(), data.size(), offset); },
                             Work::kContinuation);
      if (!ran || got <= 0) co_return false;
      data.resize(static_cast<std::size_t>(got));
      if (!co_await write(data)) co_return false;
      retried = 0;
    } else {
      const Transport::Io io =
          transport_.write({shard_.scratch.data(), static_cast<std::size_t>(got)});
      retried = io.state == Transport::State::kDone ? 0 : static_cast<std::size_t>(got);
      got = static_cast<ssize_t>(io.bytes);
      if (io.state == Transport::State::kDone) {
        co_await breathe(io.bytes);
      } else if (io.state == Transport::State::kEof || io.state == Transport::State::kError ||
                 co_await wait_for(io.state, steady_clock::now() + edge_.options.write_timeout) !=
                     Ready::kYes) {
        co_return false;
      }
    }
    file.offset += static_cast<std::uint64_t>(got);
    file.size -= static_cast<std::uint64_t>(got);
  }
  co_return true;
}

Session::Awaitable<bool> Session::send_chunks(ChunksBody chunks) {
  while (true) {
    Result<std::string> piece;
    const bool ran = co_await on_worker(
        [&chunks, &piece] {
          try {
            piece = chunks.next();
          } catch (const std::exception& error) {
            piece = fail(Code::kInternal, error.what());
          }
        },
        Work::kContinuation);
    if (!ran || !piece) {
      log::warn("body broken off", {{"request_id", context_.request_id},
                                    {"route", context_.route},
                                    {"error", piece ? "stopping" : piece.error().message}});
      co_return false;
    }
    const bool last = piece->empty();
    if (head_.http_1_1) *piece = last ? "0\r\n\r\n" : chunk_of(*piece);
    if (!co_await write(*piece)) co_return false;
    if (last) co_return true;
  }
}

void Session::finished(SteadyTime begin) {
  const std::chrono::duration<double> seconds = steady_clock::now() - begin;
  edge_.metrics.answered(head_.request.method, response_.status, context_.route,
                         context_.resumed ? std::nullopt : std::optional<double>(seconds.count()));
  log::debug("request answered", {{"request_id", context_.request_id},
                                  {"remote", peer_.remote},
                                  {"method", head_.request.method},
                                  {"path", head_.request.path},
                                  {"status", response_.status},
                                  {"seconds", seconds.count()}});
}

Session::Awaitable<void> Session::reject(Reject why) {
  phase_ = Phase::kBusy;
  keep_alive_ = false;
  edge_.metrics.rejected(why.reason);
  log::debug("request refused", {{"remote", peer_.remote}, {"reason", why.reason}});
  const std::string path =
      parser_ && parser_->head_done() ? parser_->head().request.path : std::string();
  parser_.reset();
  release_body();
  in_ = std::string();
  head_ = RequestHead();
  head_.http_1_1 = true;
  context_ = peer_;
  context_.request_id = shard_.ids.next();
  response_ = rejection(edge_.options.refusal, path, why);
  if (co_await send()) co_await linger();
}

void Session::reset_on_close() {
  // Without a final chunk or a length, only a reset says that the end is not the end.
  const ::linger now{1, 0};
  ::setsockopt(transport_.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

Session::Awaitable<void> Session::linger() {
  // Closing with unread input would make the kernel reset the connection, and the client might
  // never see the answer.
  transport_.shutdown_write();
  const SteadyTime deadline = steady_clock::now() + kLinger;
  while (steady_clock::now() < deadline) {
    const ssize_t got = ::read(transport_.fd(), shard_.scratch.data(), shard_.scratch.size());
    if (got > 0) {
      co_await breathe(static_cast<std::size_t>(got));
    } else if (got == 0 || errno != EAGAIN ||
               co_await wait(WaitType::wait_read, deadline) != Ready::kYes) {
      break;
    }
  }
}

}  // namespace roster::http
