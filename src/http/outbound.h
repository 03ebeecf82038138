#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/client.h"
#include "http/socket.h"
#include "http/tls.h"
#include "http/transport.h"

// What the blocking client and the forwarding edge share: requests as text, and connections made
// step by step by whoever waits in his own way. Internal to this room.

namespace roster::http {

constexpr std::size_t kAnswerHeaderBytesMax = 64 << 10;
constexpr int kInterimMax = 10;  // 1xx answers before the real one

/// "host:port", "[v6]:port" or "unix:/path", for messages.
std::string peer_name(const Url& url);

/// kInvalidArgument for http:// to another machine unless `allowed`, as far as the URL tells; the
/// Dialer looks at the addresses of names.
Result<void> check_plain_http(const Url& url, bool allowed);

/// RFC 9110 9.2.2: repeating the request does no harm.
bool is_idempotent(std::string_view method);

/// A request as its sender wants it; lives as long as the call that takes it.
struct RequestView {
  const Url& url;
  std::string_view user_agent;
  std::string_view bearer_token;  // unless there is an Authorization; empty for none
  std::string_view method;
  std::string_view target;  // below the URL's base path
  const Headers& headers;
  std::size_t body_bytes;
};

/// Request line and header. kInvalidArgument for what cannot stand there, and for fields that
/// belong to the connection or to the framing (RFC 9110 7.6.1): those are ours.
Result<std::string> request_head(const RequestView& request);

/// Whether a kept connection can take a request. An idle server has nothing to say; if it does, it
/// closed the connection or is out of step.
bool is_usable(Transport& idle, std::span<char> scratch);

/// A connection that is being made: lookup of the name, one address after the other, TLS. It never
/// waits itself.
class Dialer {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// `url` and `tls` (null for plain) must outlive it.
  Dialer(const Url& url, const TlsContext& tls, bool allow_plain_http, Time deadline);

  struct Want {
    int fd;        // -1: only time has to pass
    short events;  // POLLIN or POLLOUT of poll(2)
    Time until;    // the next step is due then at the latest
  };
  /// Goes as far as it can; `now` is the time. Nothing when the connection is made: take() it.
  /// kUnavailable or, for an address that plain HTTP must not go to, kInvalidArgument; the message
  /// names the peer.
  Result<std::optional<Want>> step(Time now);
  Transport take();

 private:
  enum class State { kResolve, kLookup, kNext, kConnecting, kHandshake, kDone };
  class Lookup;

  Result<std::optional<Want>> resolve_name();
  Result<std::optional<Want>> look_up(Time now);
  Result<std::optional<Want>> connect_next(Time now);
  Result<std::optional<Want>> check_connect(Time now);
  Result<std::optional<Want>> shake_hands(Time now);
  Result<std::optional<Want>> failed(std::string message);
  Result<void> connected();

  const Url& url_;
  const TlsContext& tls_;
  const bool allow_plain_http_;
  const Time deadline_;
  State state_ = State::kResolve;
  std::shared_ptr<Lookup> lookup_;
  std::vector<SocketAddress> addresses_;
  std::size_t next_ = 0;
  Time share_;  // of the address that is tried
  std::string last_error_ = "no address";
  UniqueFd fd_;
  std::optional<Transport> transport_;
};

}  // namespace roster::http
