#include "http/client.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/file.h"
#include "http/outbound.h"
#include "http/tls.h"
#include "http/transport.h"
#include "http/wire.h"

namespace roster::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Deadline = steady_clock::time_point;

constexpr std::size_t kPieceBytes = 64 << 10;
constexpr std::size_t kBodyPieceBytes = 1 << 20;
constexpr std::string_view kInterrupted = "interrupted";
constexpr std::string_view kTimedOut = "timed out";

std::unexpected<Error> unavailable(std::string message) {
  return fail(Code::kUnavailable, std::move(message));
}

/// Wakes a blocked client from another thread.
class Interrupt {
 public:
  Interrupt() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CHECK(event_.valid()); }
  void raise() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
  }
  /// Whether it was raised; lowers it.
  bool take() {
    std::uint64_t count = 0;
    return ::read(event_.get(), &count, sizeof count) == sizeof count;
  }
  int fd() const { return event_.get(); }

 private:
  UniqueFd event_;
};

/// Polls `fd` for `events` until the deadline; gives what happened.
Result<short> wait_for(int fd, short events, Deadline deadline, Interrupt& interrupt) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return unavailable(std::string(kTimedOut));
    std::array<pollfd, 2> polled = {pollfd{fd, events, 0}, pollfd{interrupt.fd(), POLLIN, 0}};
    const int timeout = static_cast<int>(std::min<std::int64_t>(left.count(), 3'600'000));
    const int ready = ::poll(polled.data(), polled.size(), timeout);
    if (ready < 0 && errno != EINTR) return std::unexpected(errno_error("poll", errno));
    if (ready <= 0) continue;
    if (interrupt.take()) return unavailable(std::string(kInterrupted));
    if (polled[0].revents != 0) return polled[0].revents;
  }
}

/// How an exchange failed, and whether the server can have seen the request.
struct Failure {
  Error error;
  bool nothing_received = false;
};

}  // namespace

class ClientImpl {
 public:
  ClientImpl(ClientOptions options, Url url, TlsContext tls)
      : options_(std::move(options)), url_(std::move(url)), tls_(std::move(tls)) {}

  Result<ClientResponse> call(const ClientRequest& request);
  void interrupt() { interrupt_.raise(); }

 private:
  Result<std::string> head_of(const ClientRequest& request) const;
  Result<void> connect(Deadline deadline);

  std::expected<ClientResponse, Failure> exchange(const ClientRequest& request,
                                                  std::string_view head, Deadline deadline);
  Result<void> send(std::string_view bytes, Deadline deadline);
  Result<std::size_t> receive(std::string& out, std::size_t bytes, Deadline deadline);
  Result<std::size_t> receive(const ClientRequest& request, ResponseParser& parser,
                              ClientResponse& response, Deadline deadline);
  Result<void> deliver(const ClientRequest& request, ResponseParser& parser,
                       ClientResponse& response) const;
  std::unexpected<Error> too_large() const;

  const ClientOptions options_;
  const Url url_;
  const TlsContext tls_;
  Interrupt interrupt_;  // thread-safe

  std::unique_ptr<Transport> connection_;
  std::string server_chain_pem_;
  std::string in_;       // read, not yet parsed
  bool closed_ = false;  // the server said that nothing more comes
  std::vector<char> buffer_ = std::vector<char>(kPieceBytes);
};

Result<std::string> ClientImpl::head_of(const ClientRequest& request) const {
  return request_head({.url = url_,
                       .user_agent = options_.user_agent,
                       .bearer_token = options_.bearer_token.expose(),
                       .method = request.method,
                       .target = request.target,
                       .headers = request.headers,
                       .body_bytes = request.body.size()});
}

Result<void> ClientImpl::connect(Deadline deadline) {
  connection_.reset();
  in_.clear();
  closed_ = false;
  deadline = std::min(deadline, steady_clock::now() + options_.connect_timeout);
  Dialer dialer(url_, tls_, options_.allow_plain_http, deadline);
  while (true) {
    ASSIGN_OR_RETURN(const auto want, dialer.step(steady_clock::now()));
    if (!want) break;
    const auto ready = wait_for(want->fd, want->events, want->until, interrupt_);
    if (!ready && ready.error().message != kTimedOut) {
      return fail_in("connect " + peer_name(url_), ready.error());
    }
  }
  connection_ = std::make_unique<Transport>(dialer.take());
  server_chain_pem_ =
      options_.ca_sha256.empty() || !tls_ ? std::string() : verified_chain_pem(connection_->ssl());
  return {};
}

/// Ends early, without error, when the server answers before it read everything.
Result<void> ClientImpl::send(std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const Transport::Io io = connection_->write(bytes);
    short events = POLLIN;
    switch (io.state) {
      case Transport::State::kDone:
        bytes.remove_prefix(io.bytes);
        continue;
      case Transport::State::kEof:
      case Transport::State::kError:
        return {};  // there may be an answer that says why; if not, reading says what is wrong
      case Transport::State::kWantWrite:
        events = POLLIN | POLLOUT;
        break;
      case Transport::State::kWantRead:
        break;
    }
    ASSIGN_OR_RETURN(const short ready, wait_for(connection_->fd(), events, deadline, interrupt_));
    if ((ready & POLLIN) == 0) continue;
    const Transport::Io early = connection_->read(buffer_);
    in_.append(buffer_.data(), early.bytes);
    if (early.state == Transport::State::kDone) return {};
    if (early.state == Transport::State::kEof || early.state == Transport::State::kError) return {};
  }
  return {};
}

/// Appends at most so many to `out`; 0 bytes at the end.
Result<std::size_t> ClientImpl::receive(std::string& out, std::size_t bytes, Deadline deadline) {
  while (true) {
    Transport::Io io{};
    const std::size_t before = out.size();
    out.resize_and_overwrite(before + bytes, [&](char* begin, std::size_t) {
      io = connection_->read({begin + before, bytes});
      return before + io.bytes;
    });
    switch (io.state) {
      case Transport::State::kDone:
        if (steady_clock::now() >= deadline) return unavailable(std::string(kTimedOut));
        return io.bytes;
      case Transport::State::kEof:
        closed_ = true;
        return 0;
      case Transport::State::kError:
        closed_ = true;
        return unavailable(connection_->error());
      case Transport::State::kWantRead:
      case Transport::State::kWantWrite:
        break;
    }
    const short events = io.state == Transport::State::kWantWrite ? POLLOUT : POLLIN;
    RETURN_IF_ERROR(wait_for(connection_->fd(), events, deadline, interrupt_));
  }
}

/// Into the place where it belongs when it is known to be body that is kept as it is; else to
/// `in_`, for the parser.
Result<std::size_t> ClientImpl::receive(const ClientRequest& request, ResponseParser& parser,
                                        ClientResponse& response, Deadline deadline) {
  const bool kept = !request.sink || parser.status() / 100 != 2;
  if (!kept || parser.body_left() == 0) return receive(in_, kPieceBytes, deadline);
  if (parser.body_left() > options_.body_bytes_max - response.body.size()) return too_large();
  const auto left = static_cast<std::size_t>(parser.body_left());
  ASSIGN_OR_RETURN(const std::size_t got,
                   receive(response.body, std::min(left, kBodyPieceBytes), deadline));
  parser.skip_body(got);
  return got;
}

std::unexpected<Error> ClientImpl::too_large() const {
  return fail(Code::kTooLarge, "the answer's body has more than " +
                                   std::to_string(options_.body_bytes_max) + " bytes");
}

Result<void> ClientImpl::deliver(const ClientRequest& request, ResponseParser& parser,
                                 ClientResponse& response) const {
  if (!parser.head_done()) return {};
  const std::string piece = parser.take_body();
  if (piece.empty()) return {};
  if (request.sink && parser.status() / 100 == 2) return request.sink(piece);
  if (response.body.size() + piece.size() > options_.body_bytes_max) return too_large();
  if (response.body.empty()) {
    const auto bytes =
        std::min<std::uint64_t>(piece.size() + parser.body_left(), options_.body_bytes_max);
    response.body.reserve(static_cast<std::size_t>(bytes) + ClientResponse::kSpareBytes);
  }
  response.body += piece;
  return {};
}

std::expected<ClientResponse, Failure> ClientImpl::exchange(const ClientRequest& request,
                                                            std::string_view head,
                                                            Deadline deadline) {
  bool received = false;
  const auto failed = [&received](Error error) {
    return std::unexpected(Failure{std::move(error), !received});
  };
  if (auto sent = send(head, deadline); !sent) return failed(sent.error());
  ClientResponse response;
  ResponseParser parser(kAnswerHeaderBytesMax, request.method == "HEAD");
  for (int interim = 0; !parser.done();) {
    received = received || !in_.empty();
    std::size_t used = 0;
    if (!in_.empty()) {
      auto parsed = parser.put(in_);
      if (!parsed) return failed(parsed.error());
      used = *parsed;
      in_.erase(0, used);
    }
    if (auto delivered = deliver(request, parser, response); !delivered) {
      return failed(delivered.error());
    }
    if (parser.done() && parser.status() / 100 == 1) {
      if (parser.status() == 101 || ++interim > kInterimMax) {
        return failed(
            {Code::kDataLoss, "the server switched protocols or does not come to an end"});
      }
      parser = ResponseParser(kAnswerHeaderBytesMax, request.method == "HEAD");
    }
    if (parser.done() || (used > 0 && !in_.empty())) continue;
    const auto got = receive(request, parser, response, deadline);
    if (!got && !(parser.head_done() && closed_)) return failed(got.error());
    if (got.value_or(0) > 0) continue;
    if (!received) return failed({Code::kUnavailable, "the server closed the connection"});
    // With TLS a cut without goodbye never counts as the end of a body.
    if (!got)
      return failed({Code::kDataLoss, "the answer's body was cut short: " + got.error().message});
    if (auto ended = parser.put_eof(); !ended) return failed(ended.error());
    if (auto delivered = deliver(request, parser, response); !delivered) {
      return failed(delivered.error());
    }
  }
  response.status = parser.status();
  response.headers = std::move(parser.headers());
  response.server_chain_pem = server_chain_pem_;
  closed_ = closed_ || !parser.keep_alive();
  return response;
}

Result<ClientResponse> ClientImpl::call(const ClientRequest& request) {
  const Deadline deadline = steady_clock::now() + request.timeout.value_or(options_.timeout);
  ASSIGN_OR_RETURN(std::string message, head_of(request));
  message += request.body;
  if (interrupt_.take()) return unavailable(std::string(kInterrupted));
  while (true) {
    const bool reused = connection_ && !closed_ && in_.empty() && is_usable(*connection_, buffer_);
    if (!reused) {
      RETURN_IF_ERROR(connect(deadline));
    }
    auto response = exchange(request, message, deadline);
    if (response) {
      if (closed_) connection_.reset();
      return std::move(*response);
    }
    const bool dead = closed_;
    connection_.reset();
    if (reused && dead && response.error().nothing_received && is_idempotent(request.method)) {
      continue;  // it died while it was idle; the new connection is not `reused`
    }
    return fail_in(request.method + ' ' + peer_name(url_) + request.target.substr(0, 200),
                   std::move(response).error().error);
  }
}

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  ASSIGN_OR_RETURN(Url url, Url::parse(options.url));
  RETURN_IF_ERROR(check_plain_http(url, options.allow_plain_http));
  if (!is_field_value(options.bearer_token.expose()) || !is_field_value(options.user_agent)) {
    return fail(Code::kInvalidArgument, "the token or user agent cannot stand in a header field");
  }
  TlsContext tls;
  if (url.scheme == "https") {
    ASSIGN_OR_RETURN(tls, client_tls_context(options));
  }
  return std::unique_ptr<Client>(
      new Client(std::make_unique<ClientImpl>(std::move(options), std::move(url), std::move(tls))));
}

Client::Client(std::unique_ptr<ClientImpl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

Result<ClientResponse> Client::call(const ClientRequest& request) { return impl_->call(request); }
void Client::interrupt() { impl_->interrupt(); }

}  // namespace roster::http
