#include "http/client.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"
#include "http/socket.h"
#include "http/tls.h"
#include "http/transport.h"
#include "http/wire.h"

namespace roster::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Deadline = steady_clock::time_point;

constexpr std::size_t kHeaderBytesMax = 64 << 10;
constexpr std::size_t kPieceBytes = 64 << 10;
constexpr std::size_t kBodyPieceBytes = 1 << 20;
constexpr std::string_view kInterrupted = "interrupted";
constexpr int kInterimMax = 10;  // 1xx answers before the real one

std::unexpected<Error> unavailable(std::string message) {
  return fail(Code::kUnavailable, std::move(message));
}

bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" ||
         method == "OPTIONS";
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
    if (left.count() <= 0) return unavailable("timed out");
    std::array<pollfd, 2> polled = {pollfd{fd, events, 0}, pollfd{interrupt.fd(), POLLIN, 0}};
    const int timeout = static_cast<int>(std::min<std::int64_t>(left.count(), 3'600'000));
    const int ready = ::poll(polled.data(), polled.size(), timeout);
    if (ready < 0 && errno != EINTR) return std::unexpected(errno_error("poll", errno));
    if (ready <= 0) continue;
    if (interrupt.take()) return unavailable(std::string(kInterrupted));
    if (polled[0].revents != 0) return polled[0].revents;
  }
}

/// A lookup in a thread of its own, because getaddrinfo(3) cannot be told when to give up. A thread
/// that was given up on ends by itself when the resolver does.
Result<std::vector<SocketAddress>> resolve_until(const std::string& host, const std::string& port,
                                                 Deadline deadline, Interrupt& interrupt) {
  if (auto numeric = resolve_numeric(host, port)) return std::move(*numeric);
  struct Lookup {
    Interrupt done;
    std::mutex mutex;  // guards result
    Result<std::vector<SocketAddress>> result;
  };
  const auto lookup = std::make_shared<Lookup>();
  std::thread([lookup, host, port] {
    auto result = resolve(host, port, /*passive=*/false);
    const std::lock_guard lock(lookup->mutex);
    lookup->result = std::move(result);
    lookup->done.raise();
  }).detach();
  const auto ready = wait_for(lookup->done.fd(), POLLIN, deadline, interrupt);
  if (!ready) return fail_in("resolve " + host, ready.error());
  const std::lock_guard lock(lookup->mutex);
  return std::move(lookup->result);
}

Result<UniqueFd> connect_one(const SocketAddress& address, Deadline deadline,
                             Interrupt& interrupt) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return std::unexpected(errno_error("socket", errno));
  if (::connect(fd.get(), address.get(), address.size) == 0) return fd;
  int error = errno;
  if (error == EINPROGRESS) {
    RETURN_IF_ERROR(wait_for(fd.get(), POLLOUT, deadline, interrupt));
    socklen_t size = sizeof error;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error != 0) {
    return unavailable(std::generic_category().message(error));
  }
  return fd;
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
  Result<std::string> request_head(const ClientRequest& request) const;
  Result<void> connect(Deadline deadline);
  Result<UniqueFd> connect_socket(Deadline deadline);
  bool is_usable();
  std::string peer_name() const;

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

Result<std::string> ClientImpl::request_head(const ClientRequest& request) const {
  const auto visible = [](char c) { return c > 0x20 && c < 0x7F; };
  if (!is_token(request.method)) return fail(Code::kInvalidArgument, "bad request method");
  if (!request.target.starts_with('/') || !std::ranges::all_of(request.target, visible)) {
    return fail(Code::kInvalidArgument, "bad request target");
  }
  const bool is_unix = url_.scheme == "unix";
  const bool default_port = url_.port == (url_.scheme == "https" ? "443" : "80");
  const std::string name = url_.host.contains(':') ? '[' + url_.host + ']' : url_.host;
  std::string head = request.method + ' ' + (is_unix ? std::string() : url_.path) + request.target +
                     " HTTP/1.1\r\nHost: ";
  head += is_unix ? "localhost" : name + (default_port ? "" : ':' + url_.port);
  head += "\r\nUser-Agent: " + options_.user_agent + "\r\n";
  if (!options_.bearer_token.empty() && !request.headers.has("Authorization")) {
    head += "Authorization: Bearer " + options_.bearer_token.expose() + "\r\n";
  }
  for (const auto& [field, value] : request.headers.all()) {
    if (!is_token(field) || !is_field_value(value)) {
      return fail(Code::kInvalidArgument, "bad request header field");
    }
    head += field + ": " + value + "\r\n";
  }
  for (const std::string_view owned :
       {"Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "User-Agent"}) {
    if (request.headers.has(owned)) {
      return fail(Code::kInvalidArgument, "the client itself sets " + std::string(owned));
    }
  }
  const bool has_content = request.method != "GET" && request.method != "HEAD" &&
                           request.method != "DELETE" && request.method != "OPTIONS";
  if (!request.body.empty() || has_content) {
    head += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  return head + "\r\n";
}

std::string ClientImpl::peer_name() const {
  if (url_.scheme == "unix") return "unix:" + url_.path;
  return (url_.host.contains(':') ? '[' + url_.host + ']' : url_.host) + ':' + url_.port;
}

Result<UniqueFd> ClientImpl::connect_socket(Deadline deadline) {
  if (url_.scheme == "unix") {
    ASSIGN_OR_RETURN(const SocketAddress address, unix_address(url_.path));
    return connect_one(address, deadline, interrupt_);
  }
  ASSIGN_OR_RETURN(const auto addresses, resolve_until(url_.host, url_.port, deadline, interrupt_));
  Error last{Code::kUnavailable, "no address"};
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (url_.scheme == "http" && !options_.allow_plain_http && !addresses[i].is_loopback()) {
      return fail(Code::kInvalidArgument, "plain HTTP to " + addresses[i].text() + " is refused");
    }
    // One address that swallows packets must not use up the time of the others.
    const Deadline now = steady_clock::now();
    const auto share = (deadline - now) / static_cast<int>(addresses.size() - i);
    auto fd = connect_one(addresses[i], now + share, interrupt_);
    if (fd) return fd;
    last = std::move(fd).error();
    if (last.message == kInterrupted) break;
  }
  return std::unexpected(last);
}

Result<void> ClientImpl::connect(Deadline deadline) {
  connection_.reset();
  in_.clear();
  closed_ = false;
  deadline = std::min(deadline, steady_clock::now() + options_.connect_timeout);
  auto fd = connect_socket(deadline);
  if (!fd) return fail_in("connect " + peer_name(), fd.error());
  SslPtr ssl;
  if (tls_) {
    ASSIGN_OR_RETURN(ssl, new_client_tls(tls_, url_.host));
  }
  auto transport = std::make_unique<Transport>(std::move(*fd), std::move(ssl));
  while (true) {
    const Transport::Io io = transport->handshake();
    if (io.state == Transport::State::kDone) break;
    if (io.state == Transport::State::kError || io.state == Transport::State::kEof) {
      return unavailable("TLS with " + peer_name() + ": " + transport->error());
    }
    const short events = io.state == Transport::State::kWantWrite ? POLLOUT : POLLIN;
    const auto ready = wait_for(transport->fd(), events, deadline, interrupt_);
    if (!ready) return fail_in("TLS with " + peer_name(), ready.error());
  }
  server_chain_pem_ =
      options_.ca_sha256.empty() || !tls_ ? std::string() : verified_chain_pem(transport->ssl());
  connection_ = std::move(transport);
  return {};
}

/// An idle connection has nothing to say; if it does, it was closed or is out of step.
bool ClientImpl::is_usable() {
  if (!connection_ || closed_ || !in_.empty()) return false;
  const Transport::Io io = connection_->read(buffer_);
  return io.state == Transport::State::kWantRead;
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
        if (steady_clock::now() >= deadline) return unavailable("timed out");
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
  ResponseParser parser(kHeaderBytesMax, request.method == "HEAD");
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
      parser = ResponseParser(kHeaderBytesMax, request.method == "HEAD");
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
  ASSIGN_OR_RETURN(std::string message, request_head(request));
  message += request.body;
  if (interrupt_.take()) return unavailable(std::string(kInterrupted));
  while (true) {
    const bool reused = is_usable();
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
    return fail_in(request.method + ' ' + peer_name() + request.target.substr(0, 200),
                   std::move(response).error().error);
  }
}

namespace {

Result<void> check_plain(const Url& url, const ClientOptions& options) {
  if (url.scheme != "http" || options.allow_plain_http || url.host == "localhost") return {};
  const auto numeric = resolve_numeric(url.host, url.port);
  const bool loopback = numeric && std::ranges::all_of(*numeric, &SocketAddress::is_loopback);
  if (loopback) return {};
  return fail(Code::kInvalidArgument, "plain http:// to " + url.host + " is refused: use https://");
}

}  // namespace

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  ASSIGN_OR_RETURN(Url url, Url::parse(options.url));
  RETURN_IF_ERROR(check_plain(url, options));
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
