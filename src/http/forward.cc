#include <poll.h>

#include <algorithm>
#include <array>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <expected>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "base/unicode.h"
#include "http/outbound.h"
#include "http/respond.h"
#include "http/session.h"
#include "http/upstream_pool.h"

// The forwarding of a request: a coroutine of the caller's session that waits for two connections.

namespace roster::http {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;
using SteadyTime = steady_clock::time_point;
using Descriptor = asio::posix::stream_descriptor;

constexpr std::size_t kJoinBytesMax = 32 << 10;  // smaller bodies travel with their head
constexpr int kClientGone = 499;  // in metrics and the log only: nobody is there to be told

// What an upstream may say to the caller. Everything else stays here: what belongs to its
// connection (RFC 9110 7.6.1), what the edge says itself, and what would hold for all of our origin
// in a browser (cookies, CORS, redirects to the upstream's own addresses, ...).
constexpr std::array<std::string_view, 15> kPassing = {"Accept-Ranges",
                                                       "Allow",
                                                       "Content-Disposition",
                                                       "Content-Encoding",
                                                       "Content-Language",
                                                       "Content-Range",
                                                       "Content-Type",
                                                       "Deprecation",
                                                       "Digest",
                                                       "ETag",
                                                       "Last-Modified",
                                                       "Retry-After",
                                                       "Sunset",
                                                       "Vary",
                                                       "Warning"};

/// Why there is no answer to pass on, or no whole one.
struct Fault {
  int status;                // for the caller; kClientGone when there is none
  std::string_view outcome;  // metric label
  std::string sentence;      // for the caller
  std::string detail;        // for the log
  bool died = false;         // the connection ended before anything came
};

/// A descriptor that somebody else closes, known to the io_context while this lives.
struct Borrowed {
  Borrowed(asio::io_context& io, int fd) : descriptor(io, fd) {}
  ~Borrowed() { descriptor.release(); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Descriptor descriptor;
};

/// The connection to the upstream while it serves one request.
struct Link {
  Link(asio::io_context& io, Transport connection)
      : transport(std::move(connection)), borrowed(io, transport.fd()) {}
  Transport transport;
  Borrowed borrowed;
};

/// Closes idle connections in time, on the io thread that gave back the first of them.
class Sweeper : public std::enable_shared_from_this<Sweeper> {
 public:
  Sweeper(asio::io_context& io, std::weak_ptr<Upstream> upstream)
      : timer_(io), upstream_(std::move(upstream)) {}
  ~Sweeper() {
    const auto upstream = upstream_.lock();
    if (upstream && watching_) upstream->pool().unwatch();
  }
  void arm(SteadyTime due) {
    timer_.expires_at(due);
    timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->sweep();
    });
  }

 private:
  void sweep() {
    const auto upstream = upstream_.lock();
    if (!upstream) return;
    const auto due = upstream->pool().sweep(steady_clock::now());
    watching_ = due.has_value();
    if (due) arm(*due);
  }

  asio::steady_timer timer_;
  const std::weak_ptr<Upstream> upstream_;
  bool watching_ = true;
};

/// Tells once how it ended, at the latest when it is destroyed: the job that would have done so may
/// be dropped with a stopping server.
struct Report {
  Report() = default;
  ~Report() {
    if (!done) return;
    try {
      done(outcome);
    } catch (const std::exception& error) {
      log::error("the end of a forward could not be told", {{"error", error.what()}});
    }
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  std::function<void(const ForwardOutcome&)> done;
  ForwardOutcome outcome{.error = "the server stopped or failed"};
};

Headers passing_headers(const Headers& upstream, Headers ours) {
  Headers passing = ours;
  for (const auto& [name, value] : upstream.all()) {
    const bool may = std::ranges::any_of(
        kPassing, [&name](std::string_view known) { return ascii_iequals(name, known); });
    if (may && !ours.has(name) && !lists(upstream, "Connection", name)) passing.add(name, value);
  }
  // Whatever a browser makes of it, it gets no rights of our origin.
  if (!passing.has("Content-Security-Policy")) passing.set("Content-Security-Policy", "sandbox");
  return passing;
}

}  // namespace

class Forwarder {
 public:
  Forwarder(Session& session, ForwardBody order, Headers ours);
  ~Forwarder() { session_.edge_.metrics.forwards.add(-1); }
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  /// Whether the caller got all of some answer.
  Session::Awaitable<bool> run();

 private:
  template <typename T>
  using Awaitable = Session::Awaitable<T>;
  using Step = std::optional<Fault>;  // nothing: go on
  enum class Woken { kReady, kTimeout, kCallerGone, kStopping };

  Awaitable<bool> answer();
  Awaitable<Step> ask();
  Awaitable<Step> dial();
  Awaitable<Step> send(std::string_view bytes);
  Awaitable<Step> read_head(SteadyTime deadline);
  Awaitable<Step> read_beginning();
  Awaitable<std::expected<std::string_view, Fault>> receive(SteadyTime deadline, std::size_t max);
  Awaitable<std::expected<std::string_view, Fault>> next_piece();
  Awaitable<Woken> watch(Descriptor* descriptor, short events, SteadyTime deadline);

  Awaitable<bool> pass_on();
  Awaitable<std::optional<Verdict>> judge(Headers headers);
  Awaitable<bool> send_whole(Response response, std::string_view outcome);
  Awaitable<bool> stream(bool head_only);
  Awaitable<Step> stream_rest(bool chunked);
  Awaitable<bool> give(std::string_view piece, bool chunked);
  Awaitable<bool> tell(Fault fault);
  Awaitable<void> report();

  std::optional<Fault> decode(std::string_view bytes);
  std::optional<Fault> check_size(std::uint64_t bytes) const;
  void settle();
  void let_go();
  void note(const Fault& fault);
  Fault fault(int status, std::string_view outcome, std::string_view what,
              std::string detail) const;
  Fault bad_answer(std::string detail) const;
  Fault broken(std::string detail) const;
  Fault late(std::string_view what) const;
  Fault stopped(Woken woken) const;
  Fault not_taken() const;
  SteadyTime progress_deadline() const;

  Session& session_;
  ForwardBody order_;
  const Headers ours_;
  UpstreamPool& pool_;
  const SteadyTime begin_ = steady_clock::now();
  const SteadyTime end_;

  UpstreamPool::Slot slot_;
  std::unique_ptr<Link> link_;
  std::string in_;                          // from the upstream, not yet parsed
  std::optional<ResponseParser> parser_;    // of the answer's message
  std::optional<std::uint64_t> announced_;  // length of the body
  std::uint64_t body_bytes_ = 0;            // of body received
  std::string body_;                        // its beginning, until something goes to the caller
  std::string piece_;
  std::string rest_;
  bool received_ = false;  // anything on this connection
  bool cut_ = false;       // the request did not go out whole
  bool surplus_ = false;   // more came than the answer

  std::string_view outcome_ = "stopping";
  std::unique_ptr<Report> report_ = std::make_unique<Report>();
};

Forwarder::Forwarder(Session& session, ForwardBody order, Headers ours)
    : session_(session),
      order_(std::move(order)),
      ours_(std::move(ours)),
      pool_(order_.upstream->pool()),
      end_(begin_ + order_.total_timeout) {
  report_->done = std::move(order_.done);
  session_.edge_.metrics.forwards.add(1);
}

// ---- what can go wrong ----

Fault Forwarder::fault(int status, std::string_view outcome, std::string_view what,
                       std::string detail) const {
  const std::string& name = pool_.options.name;
  return {status, outcome, (name.empty() ? "The upstream" : name) + std::string(what),
          std::move(detail)};
}

Fault Forwarder::bad_answer(std::string detail) const {
  return fault(502, "bad_answer", " gave an answer that makes no sense.", std::move(detail));
}

Fault Forwarder::broken(std::string detail) const {
  return fault(502, "broken", " broke off the connection.", std::move(detail));
}

Fault Forwarder::late(std::string_view what) const {
  return fault(504, "timeout", " did not answer in time.", std::string(what));
}

/// `woken` is not kReady.
Fault Forwarder::stopped(Woken woken) const {
  if (woken == Woken::kTimeout) return late("timed out");
  if (woken == Woken::kCallerGone) return {kClientGone, "caller_gone", {}, "the caller went away"};
  return {kClientGone, "stopping", {}, "the server stops"};
}

/// The caller's connection takes no more.
Fault Forwarder::not_taken() const {
  return stopped(session_.edge_.aborting ? Woken::kStopping : Woken::kCallerGone);
}

SteadyTime Forwarder::progress_deadline() const {
  return std::min(end_, steady_clock::now() + order_.progress_timeout);
}

// ---- waiting ----

/// For one of `events` (poll(2)) on the upstream's `descriptor`, or, when that is null, only for
/// time; and looks whether the caller is still there. Uses the shared buffer.
Session::Awaitable<Forwarder::Woken> Forwarder::watch(Descriptor* descriptor, short events,
                                                      SteadyTime deadline) {
  Session& session = session_;
  while (true) {
    if (session.edge_.aborting) co_return Woken::kStopping;
    const Transport::State seen = session.look_at_caller();
    if (seen == Transport::State::kEof || seen == Transport::State::kError) {
      co_return Woken::kCallerGone;
    }
    session.other_ready_ = false;
    const std::uint64_t number = ++session.other_wait_;
    const auto ready = [self = session.shared_from_this(),
                        number](const boost::system::error_code&) { self->other_ready(number); };
    if (descriptor != nullptr && (events & POLLIN) != 0) {
      descriptor->async_wait(Descriptor::wait_read, ready);
    }
    if (descriptor != nullptr && (events & POLLOUT) != 0) {
      descriptor->async_wait(Descriptor::wait_write, ready);
    }
    // One that sends far ahead is not read any further; only a reset shows that it went away.
    const auto type = seen == Transport::State::kDone        ? Descriptor::wait_error
                      : seen == Transport::State::kWantWrite ? Descriptor::wait_write
                                                             : Descriptor::wait_read;
    const Session::Ready woken = co_await session.wait(type, deadline);
    ++session.other_wait_;
    if (descriptor != nullptr) descriptor->cancel();
    if (session.other_ready_) co_return Woken::kReady;
    if (woken == Session::Ready::kTimeout) co_return Woken::kTimeout;
  }
}

// ---- asking the upstream ----

Session::Awaitable<Forwarder::Step> Forwarder::dial() {
  const SteadyTime deadline = std::min(end_, steady_clock::now() + order_.connect_timeout);
  Dialer dialer(pool_.url, pool_.tls, pool_.options.allow_plain_http, deadline);
  while (true) {
    const auto want = dialer.step(steady_clock::now());
    if (!want && steady_clock::now() >= deadline) co_return late(want.error().message);
    if (!want) {
      co_return fault(502, "unreachable", " cannot be reached.", want.error().message);
    }
    if (!*want) break;
    std::optional<Borrowed> borrowed;
    if ((*want)->fd >= 0) borrowed.emplace(session_.shard_.io, (*want)->fd);
    const Woken woken =
        co_await watch(borrowed ? &borrowed->descriptor : nullptr, (*want)->events, (*want)->until);
    if (woken == Woken::kCallerGone || woken == Woken::kStopping) co_return stopped(woken);
  }
  link_ = std::make_unique<Link>(session_.shard_.io, dialer.take());
  co_return std::nullopt;
}

/// Ends early, without a fault, when the upstream answers before it read everything.
Session::Awaitable<Forwarder::Step> Forwarder::send(std::string_view bytes) {
  while (!bytes.empty() && !cut_) {
    const Transport::Io io = link_->transport.write(bytes);
    if (io.state == Transport::State::kDone) {
      bytes.remove_prefix(io.bytes);
      co_await session_.breathe(io.bytes);
      continue;
    }
    if (io.state == Transport::State::kEof || io.state == Transport::State::kError) {
      cut_ = true;  // there may be an answer that says why; if not, reading says what is wrong
      break;
    }
    const bool writes = io.state == Transport::State::kWantWrite;
    const Woken woken = co_await watch(&link_->borrowed.descriptor,
                                       writes ? POLLIN | POLLOUT : POLLIN, progress_deadline());
    if (woken == Woken::kTimeout) co_return late("does not take the request");
    if (woken != Woken::kReady) co_return stopped(woken);
    const Transport::Io early = link_->transport.read(session_.shard_.scratch);
    in_.append(session_.shard_.scratch.data(), early.bytes);
    received_ = received_ || early.bytes > 0;
    cut_ = early.state == Transport::State::kDone || early.state == Transport::State::kEof ||
           early.state == Transport::State::kError;
  }
  co_return std::nullopt;
}

/// Up to `max` bytes into the shared buffer; none at the end of the connection.
Session::Awaitable<std::expected<std::string_view, Fault>> Forwarder::receive(SteadyTime deadline,
                                                                              std::size_t max) {
  auto& scratch = session_.shard_.scratch;
  while (true) {
    const Transport::Io io = link_->transport.read({scratch.data(), std::min(max, scratch.size())});
    short events = POLLIN;
    switch (io.state) {
      case Transport::State::kDone:
        received_ = true;
        // A peer that trickles is always ready in time: the deadline holds for it, too.
        if (steady_clock::now() >= deadline) co_return std::unexpected(late("timed out"));
        co_return std::string_view(scratch.data(), io.bytes);
      case Transport::State::kEof:
        co_return std::string_view();
      case Transport::State::kError: {
        Fault why = broken(link_->transport.error());
        why.died = !received_;
        co_return std::unexpected(std::move(why));
      }
      case Transport::State::kWantWrite:
        events = POLLOUT;
        break;
      case Transport::State::kWantRead:
        break;
    }
    const Woken woken = co_await watch(&link_->borrowed.descriptor, events, deadline);
    if (woken != Woken::kReady) co_return std::unexpected(stopped(woken));
  }
}

Session::Awaitable<Forwarder::Step> Forwarder::read_head(SteadyTime deadline) {
  const bool to_head = order_.method == "HEAD";
  parser_.emplace(kAnswerHeaderBytesMax, to_head);
  for (int interim = 0;;) {
    if (!in_.empty()) {
      const auto used = parser_->put(in_);
      if (!used) co_return bad_answer(used.error().message);
      in_.erase(0, *used);
    }
    if (parser_->head_done()) {
      const int status = parser_->status();
      if (status >= 200 && status <= 599) break;
      if (status / 100 != 1 || status == 101 || ++interim > kInterimMax) {
        co_return bad_answer("status " + std::to_string(status));
      }
      parser_.emplace(kAnswerHeaderBytesMax, to_head);
      continue;
    }
    const auto got = co_await receive(deadline, SIZE_MAX);
    if (!got) co_return got.error();
    if (got->empty()) {
      Fault why = broken("closed the connection before it answered");
      why.died = !received_;
      co_return why;
    }
    in_.append(*got);
  }
  const std::chrono::duration<double> seconds = steady_clock::now() - begin_;
  session_.edge_.metrics.forward_seconds.observe(seconds.count());
  co_return std::nullopt;
}

/// Sends the request and reads the head of the answer, on a kept connection if there is one. One
/// that had died while it was idle is replaced once.
Session::Awaitable<Forwarder::Step> Forwarder::ask() {
  auto head = request_head({.url = pool_.url,
                            .user_agent = pool_.options.user_agent,
                            .bearer_token = {},
                            .method = order_.method,
                            .target = order_.target,
                            .headers = order_.headers,
                            .body_bytes = order_.body.size()});
  if (!head) co_return Fault{500, "internal", "Something went wrong.", head.error().message};
  // In one piece, so that no answer waits for another's acknowledgement.
  if (order_.body.size() <= kJoinBytesMax) head->append(std::exchange(order_.body, {}));
  for (bool may_reuse = true;; may_reuse = false) {
    in_.clear();
    received_ = cut_ = surplus_ = false;
    std::optional<Transport> kept = may_reuse ? pool_.take() : std::nullopt;
    while (kept && !is_usable(*kept, session_.shard_.scratch)) kept = pool_.take();
    const bool reused = kept.has_value();
    if (reused) {
      link_ = std::make_unique<Link>(session_.shard_.io, std::move(*kept));
    } else if (auto why = co_await dial()) {
      co_return why;
    }
    if (auto why = co_await send(*head)) co_return why;
    if (auto why = co_await send(order_.body)) co_return why;
    auto why = co_await read_head(std::min(end_, steady_clock::now() + order_.answer_timeout));
    if (!why || !why->died || !reused || !is_idempotent(order_.method)) co_return why;
    link_.reset();
  }
}

// ---- the answer's body ----

/// What came after the head and was not read straight through; leaves body bytes in `piece_`.
std::optional<Fault> Forwarder::decode(std::string_view bytes) {
  if (!bytes.empty() && !parser_->done()) {
    const auto used = parser_->put(bytes);
    if (!used) return bad_answer(used.error().message);
    bytes.remove_prefix(*used);
  }
  surplus_ = surplus_ || !bytes.empty();
  piece_ = parser_->take_body();
  return std::nullopt;
}

std::optional<Fault> Forwarder::check_size(std::uint64_t bytes) const {
  if (bytes <= order_.answer_bytes_max) return std::nullopt;
  return fault(502, "too_large", " gave an answer that is too large.", "the body is too large");
}

/// Bytes of the body, none at its end. They live until something else is read or waited for.
Session::Awaitable<std::expected<std::string_view, Fault>> Forwarder::next_piece() {
  while (!parser_->done()) {
    if (steady_clock::now() >= end_) co_return std::unexpected(late("took too long altogether"));
    // The parser need not see what is known to be body.
    const std::uint64_t left = parser_->body_left();
    const auto got = co_await receive(progress_deadline(), left > 0 ? left : SIZE_MAX);
    if (!got) co_return std::unexpected(got.error());
    std::string_view piece = *got;
    if (piece.empty()) {
      if (auto ended = parser_->put_eof(); !ended) {
        co_return std::unexpected(broken(ended.error().message));
      }
    } else if (left > 0) {
      parser_->skip_body(piece.size());
    } else {
      if (auto why = decode(piece)) co_return std::unexpected(std::move(*why));
      piece = piece_;
    }
    body_bytes_ += piece.size();
    if (auto why = check_size(body_bytes_)) co_return std::unexpected(std::move(*why));
    if (!piece.empty()) co_return piece;
  }
  co_return std::string_view();
}

/// What came with the head, and as much as the judge wants to see.
Session::Awaitable<Forwarder::Step> Forwarder::read_beginning() {
  if (parser_->body_left() > 0) announced_ = parser_->body_left();
  if (auto why = decode(std::exchange(in_, {}))) co_return why;
  body_ = std::move(piece_);
  body_bytes_ = body_.size();
  if (auto why = check_size(std::max(announced_.value_or(0), body_bytes_))) co_return why;
  const std::size_t wanted = order_.judge ? order_.judge_bytes_max : 0;
  while (order_.judge && !parser_->done() && body_.size() <= wanted &&
         announced_.value_or(0) <= wanted) {
    const auto piece = co_await next_piece();
    if (!piece) co_return piece.error();
    body_.append(*piece);
  }
  co_return std::nullopt;
}

/// The upstream is done with us: others may use its connection while the caller reads.
void Forwarder::settle() {
  const bool clean = parser_->done() && parser_->keep_alive() && !cut_ && !surplus_;
  if (link_ && clean) {
    link_->borrowed.descriptor.release();
    const SteadyTime now = steady_clock::now();
    if (pool_.keep(std::move(link_->transport), now)) {
      std::make_shared<Sweeper>(session_.shard_.io, order_.upstream)
          ->arm(now + pool_.options.idle_timeout);
    }
  }
  let_go();
}

void Forwarder::let_go() {
  link_.reset();
  slot_.reset();
}

// ---- answering the caller ----

Session::Awaitable<bool> Forwarder::run() {
  const bool sent = co_await answer();
  let_go();
  session_.edge_.metrics.forwarded(outcome_);
  co_await report();
  co_return sent;
}

Session::Awaitable<bool> Forwarder::answer() {
  slot_ = pool_.enter();
  if (!slot_) {
    co_return co_await tell(fault(503, "busy",
                                  " has too many requests in progress; try again soon.",
                                  "too many requests in progress"));
  }
  auto why = co_await ask();
  order_.body = std::string();
  session_.release_body();
  if (!why) {
    report_->outcome.upstream_status = parser_->status();
    why = co_await read_beginning();
  }
  if (why) co_return co_await tell(std::move(*why));
  co_return co_await pass_on();
}

/// Nothing when the server stops.
Session::Awaitable<std::optional<Verdict>> Forwarder::judge(Headers headers) {
  std::optional<std::string_view> body;
  if (parser_->done() && body_.size() <= order_.judge_bytes_max) body = body_;
  std::optional<Verdict> verdict;
  co_await session_.on_worker(
      [this, body, &headers, &verdict] {
        try {
          verdict = order_.judge(parser_->status(), std::move(headers), body);
        } catch (const std::exception& error) {
          log::error("judge failed", {{"request_id", session_.context_.request_id},
                                      {"route", session_.context_.route},
                                      {"error", error.what()}});
          verdict = Verdict{.instead = text_response(500, "Something went wrong.")};
        }
      },
      Work::kContinuation);
  co_return verdict;
}

Session::Awaitable<bool> Forwarder::pass_on() {
  if (parser_->done()) settle();
  Headers headers = passing_headers(parser_->headers(), ours_);
  if (order_.judge) {
    auto verdict = co_await judge(std::move(headers));
    if (!verdict) co_return co_await tell(stopped(Woken::kStopping));
    if (verdict->instead) co_return co_await send_whole(std::move(*verdict->instead), "judged");
    headers = std::move(verdict->headers);
  }
  Response response;
  response.status = parser_->status();
  response.headers = std::move(headers);
  const bool caller_asks_head = session_.head_.request.method == "HEAD";
  if (parser_->done() && !caller_asks_head) {
    response.body = std::move(body_);
    co_return co_await send_whole(std::move(response), "passed");
  }
  if (!is_sendable(response)) co_return co_await send_whole(std::move(response), "judged");
  session_.response_ = std::move(response);
  co_return co_await stream(caller_asks_head);
}

/// An answer of which nothing more has to come from the upstream.
Session::Awaitable<bool> Forwarder::send_whole(Response response, std::string_view outcome) {
  let_go();
  session_.response_ = std::move(response);
  if (session_.edge_.stopping) session_.keep_alive_ = false;
  const std::uint64_t bytes = body_length(session_.response_).value_or(0);
  ForwardOutcome& told = report_->outcome;
  const bool sent = co_await session_.send();
  told.status = session_.response_.status;
  told.body_bytes = sent ? bytes : 0;
  told.error = sent ? "" : "the caller went away";
  outcome_ = sent ? outcome : "caller_gone";
  co_return sent;
}

/// Passes the body on piece by piece: what the caller does not take is not read from the upstream.
Session::Awaitable<bool> Forwarder::stream(bool head_only) {
  Response& response = session_.response_;
  ForwardOutcome& told = report_->outcome;
  if (session_.edge_.stopping) session_.keep_alive_ = false;
  if (head_only && order_.method == "HEAD") {
    announced_ = parse_number<std::uint64_t>(parser_->headers().get("Content-Length"));
  } else if (parser_->done()) {
    announced_ = body_bytes_;
  }
  const bool chunked = !announced_ && session_.head_.http_1_1;
  std::string beginning = session_.response_head(announced_);
  if (!head_only && !body_.empty()) beginning += chunked ? chunk_of(body_) : body_;
  std::optional<Fault> why;
  told.status = response.status;
  if (co_await session_.write(beginning)) {
    told.body_bytes = head_only ? 0 : body_.size();
    body_ = beginning = std::string();
    if (!head_only) why = co_await stream_rest(chunked);
  } else {
    why = not_taken();
  }
  if (why) note(*why);
  if (!why) outcome_ = "passed";
  told.error = why ? why->detail : "";
  session_.broken_ = why.has_value();
  co_return !why;
}

Session::Awaitable<Forwarder::Step> Forwarder::stream_rest(bool chunked) {
  while (true) {
    const auto piece = co_await next_piece();
    if (!piece) co_return piece.error();
    if (parser_->done()) settle();
    if (piece->empty()) break;
    const std::size_t bytes = piece->size();
    if (!co_await give(*piece, chunked)) co_return not_taken();
    report_->outcome.body_bytes += bytes;
  }
  if (chunked && !co_await session_.write("0\r\n\r\n")) co_return not_taken();
  co_return std::nullopt;
}

Session::Awaitable<bool> Forwarder::give(std::string_view piece, bool chunked) {
  if (chunked) {
    rest_ = chunk_of(piece);
    co_return co_await session_.write(rest_);
  }
  // Straight from the shared buffer as a rule. What the caller does not take now must leave it.
  const Transport::Io io = session_.transport_.write(piece);
  if (io.state == Transport::State::kEof || io.state == Transport::State::kError) co_return false;
  const std::size_t taken = io.state == Transport::State::kDone ? io.bytes : 0;
  rest_.assign(piece.substr(taken));
  co_await session_.breathe(taken);
  co_return co_await session_.write(rest_);
}

/// The edge's own answer instead of the upstream's.
Session::Awaitable<bool> Forwarder::tell(Fault why) {
  let_go();
  note(why);
  ForwardOutcome& told = report_->outcome;
  told.error = why.detail;
  if (why.status == kClientGone) {
    session_.response_ = Response();
    session_.response_.status = kClientGone;
    co_return false;
  }
  session_.response_ = rejection(session_.edge_.options.refusal, session_.head_.request.path,
                                 Reject{why.status, why.outcome, why.sentence});
  if (session_.edge_.stopping) session_.keep_alive_ = false;
  told.status = why.status;
  co_return co_await session_.send();
}

void Forwarder::note(const Fault& why) {
  outcome_ = why.outcome;
  if (why.outcome == "caller_gone") return;
  const auto level = why.status == 500 ? log::error : log::warn;
  level("forward failed", {{"request_id", session_.context_.request_id},
                           {"route", session_.context_.route},
                           {"upstream", pool_.options.name},
                           {"outcome", why.outcome},
                           {"error", why.detail}});
}

Session::Awaitable<void> Forwarder::report() {
  if (!report_->done) co_return;
  co_await session_.on_worker([report = std::move(report_)]() mutable { report.reset(); },
                              Work::kContinuation);
}

Session::Awaitable<bool> Session::forward() {
  ForwardBody order = std::move(std::get<ForwardBody>(response_.body));
  Headers ours = std::move(response_.headers);
  CHECK(order.upstream != nullptr);
  head_.request.body = std::string();  // the handler took from it what it wanted
  Forwarder forwarder(*this, std::move(order), std::move(ours));
  co_return co_await forwarder.run();
}

}  // namespace roster::http
