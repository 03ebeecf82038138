#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "http/message.h"

struct addrinfo;

namespace roster::http {

/// A socket address of any family.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  bool is_loopback() const;
  /// "127.0.0.1:80", "[::1]:80", "unix". IPv4 inside IPv6 (RFC 4291 2.5.5.2) is shown as IPv4.
  std::string text() const;
};

/// kInvalidArgument when the path does not fit sun_path (107 bytes).
Result<SocketAddress> unix_address(const std::filesystem::path& path);
/// getaddrinfo(3): blocks as long as the system's resolver does, unless `host` is numeric.
/// `passive` for listening. kUnavailable when there is no address.
Result<std::vector<SocketAddress>> resolve(const std::string& host, const std::string& port,
                                           bool passive);
/// Addresses of a numeric host, or nothing.
std::optional<std::vector<SocketAddress>> resolve_numeric(const std::string& host,
                                                          const std::string& port);

/// A listening, non-blocking socket. Removes the unix socket that it made.
class Listener {
 public:
  /// "HOST:PORT", "[::]:PORT" (both families) or "unix:/path". A stale unix socket, one that nobody
  /// listens on, is replaced. kInvalidArgument for a bad address, kUnavailable when it is taken.
  static Result<Listener> open(const std::string& text, mode_t unix_mode);
  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&&) noexcept = default;
  ~Listener();

  int fd() const { return fd_.get(); }
  /// Ends listening.
  void close();
  bool is_unix() const { return !unix_path_.empty(); }
  bool is_loopback() const { return loopback_; }
  /// The real address, with the port that the system chose.
  const std::string& address() const { return address_; }

 private:
  Listener() = default;
  static Result<Listener> open_unix(const std::filesystem::path& path, mode_t mode);
  static Result<Listener> open_tcp(const std::string& text);

  UniqueFd fd_;
  std::string address_;
  std::filesystem::path unix_path_;
  ino_t unix_inode_ = 0;
  bool loopback_ = false;
};

/// SO_PEERCRED of a unix socket.
std::optional<PeerCredentials> peer_credentials(int fd);

}  // namespace roster::http
