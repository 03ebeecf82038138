#include "http/socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "base/file.h"

namespace roster::http {
namespace {

constexpr int kBacklog = 4096;

struct AddrinfoDelete {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

Error unavailable(std::string_view what, int error_number) {
  Error error = errno_error(what, error_number);
  error.code = Code::kUnavailable;
  return error;
}

Result<std::vector<SocketAddress>> lookup(const std::string& host, const std::string& port,
                                          int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* raw = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &raw);
  const std::unique_ptr<addrinfo, AddrinfoDelete> list(raw);
  if (error != 0) {
    return fail(Code::kUnavailable, "resolve " + host + ": " + gai_strerror(error));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* item = list.get(); item != nullptr; item = item->ai_next) {
    if (item->ai_addrlen > sizeof(sockaddr_storage)) continue;
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, item->ai_addr, item->ai_addrlen);
    address.size = item->ai_addrlen;
  }
  return addresses;
}

/// Whether somebody accepts on that unix socket.
bool somebody_listens(const SocketAddress& address) {
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.valid()) return true;
  return ::connect(probe.get(), address.get(), address.size) == 0 || errno != ECONNREFUSED;
}

Result<void> remove_stale_socket(const std::filesystem::path& path, const SocketAddress& address) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return std::unexpected(errno_error("stat " + path.string(), errno));
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(Code::kInvalidArgument, path.string() + " exists and is not a socket");
  }
  if (somebody_listens(address)) {
    return fail(Code::kUnavailable, "listen unix:" + path.string() + ": somebody else listens");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return std::unexpected(errno_error("unlink " + path.string(), errno));
  }
  return {};
}

}  // namespace

bool SocketAddress::is_loopback() const {
  if (family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  if (family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127);
  }
  return family() == AF_UNIX;
}

std::string SocketAddress::text() const {
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    inet_ntop(AF_INET, &v4->sin_addr, host.data(), host.size());
    return std::string(host.data()) + ':' + std::to_string(ntohs(v4->sin_port));
  }
  if (family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    const std::string port = std::to_string(ntohs(v6->sin6_port));
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
      inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host.data(), host.size());
      return std::string(host.data()) + ':' + port;
    }
    inet_ntop(AF_INET6, &v6->sin6_addr, host.data(), host.size());
    return '[' + std::string(host.data()) + "]:" + port;
  }
  return "unix";
}

Result<SocketAddress> unix_address(const std::filesystem::path& path) {
  SocketAddress address;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof name.sun_path || text.contains('\0')) {
    return fail(Code::kInvalidArgument,
                "unix:" + text + ": the path of a unix socket has 1 to 107 bytes");
  }
  std::memcpy(name.sun_path, text.data(), text.size());
  std::memcpy(&address.storage, &name, sizeof name);
  address.size = sizeof name;
  return address;
}

Result<std::vector<SocketAddress>> resolve(const std::string& host, const std::string& port,
                                           bool passive) {
  return lookup(host, port, passive ? AI_PASSIVE : AI_ADDRCONFIG);
}

std::optional<std::vector<SocketAddress>> resolve_numeric(const std::string& host,
                                                          const std::string& port) {
  auto addresses = lookup(host, port, AI_NUMERICHOST);
  if (!addresses) return std::nullopt;
  return std::move(*addresses);
}

Result<Listener> Listener::open(const std::string& text, mode_t unix_mode) {
  constexpr std::string_view kUnix = "unix:";
  if (text.starts_with(kUnix)) return open_unix(text.substr(kUnix.size()), unix_mode);
  return open_tcp(text);
}

Listener::~Listener() { close(); }

void Listener::close() {
  if (!fd_.valid()) return;
  struct stat status{};
  if (is_unix() && ::lstat(unix_path_.c_str(), &status) == 0 && status.st_ino == unix_inode_) {
    ::unlink(unix_path_.c_str());
  }
  fd_ = UniqueFd();
}

Result<Listener> Listener::open_unix(const std::filesystem::path& path, mode_t mode) {
  if (!path.is_absolute()) {
    return fail(Code::kInvalidArgument, "listen unix:" + path.string() + ": not an absolute path");
  }
  ASSIGN_OR_RETURN(const SocketAddress address, unix_address(path));
  RETURN_IF_ERROR(remove_stale_socket(path, address));
  Listener listener;
  listener.address_ = "unix:" + path.string();
  listener.loopback_ = true;
  listener.fd_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // The mode is on the socket before it has a name, so that it is never more open than it should.
  if (!listener.fd_.valid() || ::fchmod(listener.fd(), mode) != 0 ||
      ::bind(listener.fd(), address.get(), address.size) != 0) {
    return std::unexpected(unavailable("listen " + listener.address_, errno));
  }
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0 || ::chmod(path.c_str(), mode) != 0 ||
      ::listen(listener.fd(), kBacklog) != 0) {
    const Error error = unavailable("listen " + listener.address_, errno);
    ::unlink(path.c_str());
    return std::unexpected(error);
  }
  listener.unix_path_ = path;
  listener.unix_inode_ = status.st_ino;
  return listener;
}

Result<Listener> Listener::open_tcp(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) {
    return fail(Code::kInvalidArgument, "listen " + text + ": want HOST:PORT or unix:/path");
  }
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.contains(':')) {
    return fail(Code::kInvalidArgument, "listen " + text + ": write IPv6 as [ADDRESS]:PORT");
  }
  auto addresses = resolve(host, text.substr(colon + 1), /*passive=*/true);
  if (!addresses) {
    return fail(Code::kInvalidArgument, "listen " + text + ": " + addresses.error().message);
  }
  SocketAddress address = addresses->front();
  Listener listener;
  listener.loopback_ = address.is_loopback();
  listener.fd_ =
      UniqueFd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.fd_.valid()) return std::unexpected(unavailable("listen " + text, errno));
  const int on = 1;
  const int off = 0;
  ::setsockopt(listener.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.family() == AF_INET6) {
    const int& only = host == "::" ? off : on;
    ::setsockopt(listener.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  }
  if (::bind(listener.fd(), address.get(), address.size) != 0 ||
      ::listen(listener.fd(), kBacklog) != 0) {
    return std::unexpected(unavailable("listen " + text, errno));
  }
  address.size = sizeof address.storage;
  if (::getsockname(listener.fd(), address.get(), &address.size) != 0) {
    return std::unexpected(unavailable("listen " + text, errno));
  }
  listener.address_ = address.text();
  return listener;
}

std::optional<PeerCredentials> peer_credentials(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return std::nullopt;
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace roster::http
