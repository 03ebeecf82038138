#include "http/outbound.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "http/wire.h"

namespace roster::http {
namespace {

constexpr std::chrono::milliseconds kBacklogPause{10};

bool is_ready(int fd, short events) {
  pollfd polled{fd, events, 0};
  return ::poll(&polled, 1, 0) > 0;
}

}  // namespace

std::string peer_name(const Url& url) {
  if (url.scheme == "unix") return "unix:" + url.path;
  return (url.host.contains(':') ? '[' + url.host + ']' : url.host) + ':' + url.port;
}

Result<void> check_plain_http(const Url& url, bool allowed) {
  if (url.scheme != "http" || allowed || url.host == "localhost") return {};
  const auto numeric = resolve_numeric(url.host, url.port);
  const bool loopback = numeric && std::ranges::all_of(*numeric, &SocketAddress::is_loopback);
  if (loopback) return {};
  return fail(Code::kInvalidArgument, "plain http:// to " + url.host + " is refused: use https://");
}

bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" ||
         method == "OPTIONS";
}

Result<std::string> request_head(const RequestView& request) {
  const Url& url = request.url;
  const auto visible = [](char c) { return c > 0x20 && c < 0x7F; };
  if (!is_token(request.method)) return fail(Code::kInvalidArgument, "bad request method");
  if (!request.target.starts_with('/') || !std::ranges::all_of(request.target, visible)) {
    return fail(Code::kInvalidArgument, "bad request target");
  }
  std::string head(request.method);
  head.append(" ").append(url.scheme == "unix" ? "" : url.path).append(request.target);
  head.append(" HTTP/1.1\r\nHost: ");
  const bool default_port = url.port == (url.scheme == "https" ? "443" : "80");
  const std::string name = url.host.contains(':') ? '[' + url.host + ']' : url.host;
  head.append(url.scheme == "unix" ? "localhost" : name + (default_port ? "" : ':' + url.port));
  head.append("\r\nUser-Agent: ").append(request.user_agent).append("\r\n");
  if (!request.bearer_token.empty() && !request.headers.has("Authorization")) {
    head.append("Authorization: Bearer ").append(request.bearer_token).append("\r\n");
  }
  for (const auto& [field, value] : request.headers.all()) {
    if (!is_token(field) || !is_field_value(value)) {
      return fail(Code::kInvalidArgument, "bad request header field");
    }
    head.append(field).append(": ").append(value).append("\r\n");
  }
  for (const std::string_view owned :
       {"Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "User-Agent",
        "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade"}) {
    if (request.headers.has(owned)) {
      return fail(Code::kInvalidArgument, "the client itself sets " + std::string(owned));
    }
  }
  const bool has_content = request.method != "GET" && request.method != "HEAD" &&
                           request.method != "DELETE" && request.method != "OPTIONS";
  if (request.body_bytes > 0 || has_content) {
    head.append("Content-Length: ").append(std::to_string(request.body_bytes)).append("\r\n");
  }
  return head + "\r\n";
}

bool is_usable(Transport& idle, std::span<char> scratch) {
  return idle.read(scratch).state == Transport::State::kWantRead;
}

/// A lookup in a thread of its own, because getaddrinfo(3) cannot be told when to give up. A thread
/// that was given up on ends by itself when the resolver does.
class Dialer::Lookup {
 public:
  static std::shared_ptr<Lookup> start(const std::string& host, const std::string& port) {
    auto lookup = std::make_shared<Lookup>();
    std::thread([lookup, host, port] {
      auto result = resolve(host, port, /*passive=*/false);
      const std::lock_guard lock(lookup->mutex_);
      lookup->result_ = std::move(result);
      const std::uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = ::write(lookup->done_.get(), &one, sizeof one);
    }).detach();
    return lookup;
  }
  Lookup() : done_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CHECK(done_.valid()); }
  /// Readable when there is a result.
  int fd() const { return done_.get(); }
  /// Nothing while it goes on.
  std::optional<Result<std::vector<SocketAddress>>> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(result_, std::nullopt);
  }

 private:
  const UniqueFd done_;
  std::mutex mutex_;  // guards what follows
  std::optional<Result<std::vector<SocketAddress>>> result_;
};

Dialer::Dialer(const Url& url, const TlsContext& tls, bool allow_plain_http, Time deadline)
    : url_(url), tls_(tls), allow_plain_http_(allow_plain_http), deadline_(deadline) {}

Result<std::optional<Dialer::Want>> Dialer::failed(std::string message) {
  return fail(Code::kUnavailable, "connect " + peer_name(url_) + ": " + std::move(message));
}

Result<std::optional<Dialer::Want>> Dialer::step(Time now) {
  while (true) {
    const State before = state_;
    Result<std::optional<Want>> want;
    switch (state_) {
      case State::kResolve:
        want = resolve_name();
        break;
      case State::kLookup:
        want = look_up(now);
        break;
      case State::kNext:
        want = connect_next(now);
        break;
      case State::kConnecting:
        want = check_connect(now);
        break;
      case State::kHandshake:
        want = shake_hands(now);
        break;
      case State::kDone:
        return std::nullopt;
    }
    if (!want || *want) return want;
    CHECK(state_ != before || state_ == State::kNext);
  }
}

Result<std::optional<Dialer::Want>> Dialer::resolve_name() {
  if (url_.scheme == "unix") {
    ASSIGN_OR_RETURN(const SocketAddress address, unix_address(url_.path));
    addresses_ = {address};
  } else if (auto numeric = resolve_numeric(url_.host, url_.port)) {
    addresses_ = std::move(*numeric);
  } else {
    lookup_ = Lookup::start(url_.host, url_.port);
    state_ = State::kLookup;
    return std::nullopt;
  }
  state_ = State::kNext;
  return std::nullopt;
}

Result<std::optional<Dialer::Want>> Dialer::look_up(Time now) {
  auto result = lookup_->take();
  if (!result) {
    if (now >= deadline_) return failed("resolve " + url_.host + ": timed out");
    return Want{lookup_->fd(), POLLIN, deadline_};
  }
  lookup_.reset();
  if (!*result) return failed(std::move(*result).error().message);
  addresses_ = std::move(**result);
  state_ = State::kNext;
  return std::nullopt;
}

Result<void> Dialer::connected() {
  SslPtr ssl;
  if (tls_) {
    ASSIGN_OR_RETURN(ssl, new_client_tls(tls_, url_.host));
  }
  const int on = 1;  // not on unix sockets, which do not wait anyway
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  transport_.emplace(std::move(fd_), std::move(ssl));
  state_ = State::kHandshake;
  return {};
}

/// Begins with the next address, and stays in this state when that one is no good.
Result<std::optional<Dialer::Want>> Dialer::connect_next(Time now) {
  if (next_ == addresses_.size()) return failed(std::move(last_error_));
  const SocketAddress& address = addresses_[next_];
  if (url_.scheme == "http" && !allow_plain_http_ && !address.is_loopback()) {
    return fail(Code::kInvalidArgument,
                "connect " + peer_name(url_) + ": plain HTTP to " + address.text() + " is refused");
  }
  // One address that swallows packets must not use up the time of the others.
  share_ = now + (deadline_ - now) / static_cast<int>(addresses_.size() - next_);
  fd_ = UniqueFd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd_.valid()) return failed("socket: " + std::generic_category().message(errno));
  if (::connect(fd_.get(), address.get(), address.size) == 0) {
    RETURN_IF_ERROR(connected());
    return std::nullopt;
  }
  const int error = errno;
  // A unix socket whose backlog is full (connect(2)): nothing to poll for.
  if (error == EAGAIN && now < deadline_)
    return Want{-1, 0, std::min(deadline_, now + kBacklogPause)};
  ++next_;
  if (error == EINPROGRESS) {
    state_ = State::kConnecting;
  } else {
    last_error_ = std::generic_category().message(error);
  }
  return std::nullopt;
}

Result<std::optional<Dialer::Want>> Dialer::check_connect(Time now) {
  int error = ETIMEDOUT;
  if (is_ready(fd_.get(), POLLOUT)) {
    socklen_t size = sizeof error;
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  } else if (now < share_) {
    return Want{fd_.get(), POLLOUT, share_};
  }
  if (error == 0) {
    RETURN_IF_ERROR(connected());
    return std::nullopt;
  }
  last_error_ = error == ETIMEDOUT ? "timed out" : std::generic_category().message(error);
  state_ = State::kNext;
  return std::nullopt;
}

Result<std::optional<Dialer::Want>> Dialer::shake_hands(Time now) {
  const Transport::Io io = transport_->handshake();
  switch (io.state) {
    case Transport::State::kDone:
      state_ = State::kDone;
      return std::nullopt;
    case Transport::State::kWantRead:
    case Transport::State::kWantWrite:
      break;
    case Transport::State::kEof:
    case Transport::State::kError:
      return fail(Code::kUnavailable, "TLS with " + peer_name(url_) + ": " + transport_->error());
  }
  if (now >= deadline_) {
    return fail(Code::kUnavailable, "TLS with " + peer_name(url_) + ": timed out");
  }
  const short events = io.state == Transport::State::kWantWrite ? POLLOUT : POLLIN;
  return Want{transport_->fd(), events, deadline_};
}

Transport Dialer::take() {
  CHECK(state_ == State::kDone);
  return std::move(*transport_);
}

}  // namespace roster::http
