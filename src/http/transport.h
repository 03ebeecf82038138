#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace roster::http {

struct SslDelete {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslPtr = std::unique_ptr<SSL, SslDelete>;

/// One non-blocking stream socket, plain or TLS. Nothing here waits: the caller polls for what is
/// wanted. No call raises SIGPIPE.
class Transport {
 public:
  enum class State {
    kDone,       // `bytes` were moved (at least one), or the handshake is complete
    kWantRead,   // call again when readable
    kWantWrite,  // call again when writable
    kEof,        // the peer closed; with TLS it said so
    kError,      // broken, or with TLS cut off without a word; see error()
  };
  struct Io {
    State state;
    std::size_t bytes = 0;
  };

  /// `ssl` is null for plain; else in accept or connect state. `fd` must be non-blocking.
  Transport(UniqueFd fd, SslPtr ssl);

  Io handshake();
  Io read(std::span<char> into);
  /// May take only a part. After kWantWrite or kWantRead the same bytes must come again.
  Io write(std::string_view bytes);
  /// TLS close_notify as far as it goes without waiting.
  void say_goodbye();
  /// Ends our direction, so that the peer reads to the end.
  void shutdown_write();

  int fd() const { return fd_.get(); }
  /// The Transport no longer closes the descriptor.
  UniqueFd release() { return std::move(fd_); }
  bool tls() const { return ssl_ != nullptr; }
  SSL* ssl() const { return ssl_.get(); }
  const std::string& error() const { return error_; }

 private:
  Io tls_result(int result, std::size_t bytes);
  Io errno_result(const char* what);

  UniqueFd fd_;
  SslPtr ssl_;
  std::string error_;
};

/// First line of OpenSSL's error queue, and the queue emptied. `fallback` when it is empty.
std::string take_openssl_error(std::string_view fallback);

}  // namespace roster::http
