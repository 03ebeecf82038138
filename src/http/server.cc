#include "http/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "http/session.h"
#include "http/socket.h"

namespace roster::http {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kCertificateBytesMax = 1 << 20;
// Connections beyond the maximum that are told so; further ones are closed without a word.
constexpr std::size_t kRefusalsMax = 64;
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::milliseconds kAbortTime{500};

Result<TlsContext> load_tls(const TlsFiles& files) {
  ASSIGN_OR_RETURN(const std::string certificate,
                   read_file(files.certificate, kCertificateBytesMax));
  ASSIGN_OR_RETURN(std::string key_text, read_file(files.key, kCertificateBytesMax));
  const Secret key(std::move(key_text));
  auto context = server_tls_context(certificate, key.expose());
  if (!context) return fail_in(files.certificate.string(), context.error());
  return context;
}

/// Small answers go out at once, and peers that vanished without a goodbye are noticed in minutes.
void tune_tcp(int fd) {
  const auto set = [fd](int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

}  // namespace

class ServerImpl {
 public:
  ServerImpl(ServerOptions options, Handler handler, Metrics& metrics)
      : edge_(std::move(options), std::move(handler), metrics) {
    const unsigned threads = std::max(1U, edge_.options.io_threads);
    for (unsigned i = 0; i < threads; ++i) {
      shards_.push_back(std::make_unique<Shard>(edge_.options));
    }
  }
  ~ServerImpl();

  Result<void> listen();

  std::vector<std::string> addresses() const;
  void start();
  void notify(const std::string& key, std::uint64_t value);
  Result<void> reload_certificate();
  void stop(std::chrono::milliseconds grace);

 private:
  struct Door {
    Listener listener;
    asio::posix::stream_descriptor descriptor;
    asio::steady_timer pause;
  };

  asio::awaitable<void> accept_loop(Door* door);
  void admit(const Door& door, UniqueFd fd, const SocketAddress& peer);
  void close_doors();
  void on_all_sessions(void (Session::*action)());
  void wait_for_connections(std::chrono::milliseconds time);
  static void run(Shard& shard);

  Edge edge_;
  std::vector<std::string> addresses_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::unique_ptr<Door>> doors_;  // touched by the first shard's thread once started
  std::size_t next_shard_ = 0;
  bool started_ = false;
  bool stopped_ = false;
};

Result<void> ServerImpl::listen() {
  const ServerOptions& options = edge_.options;
  if (options.tls) {
    ASSIGN_OR_RETURN(edge_.tls, load_tls(*options.tls));
  }
  for (const std::string& text : options.listen) {
    ASSIGN_OR_RETURN(Listener listener, Listener::open(text, options.unix_mode));
    if (!options.tls && !listener.is_loopback()) {
      return fail(Code::kInvalidArgument,
                  "listen " + text + ": plain HTTP is served on loopback and unix sockets only");
    }
    addresses_.push_back(listener.address());
    asio::io_context& io = shards_.front()->io;
    const int fd = listener.fd();
    doors_.push_back(std::make_unique<Door>(
        std::move(listener), asio::posix::stream_descriptor(io, fd), asio::steady_timer(io)));
  }
  return {};
}

std::vector<std::string> ServerImpl::addresses() const { return addresses_; }

void ServerImpl::run(Shard& shard) {
  while (true) {
    try {
      shard.io.run();
      return;
    } catch (const std::exception& error) {
      log::error("HTTP io thread caught an exception", {{"error", error.what()}});
    }
  }
}

void ServerImpl::start() {
  CHECK(!started_);
  started_ = true;
  edge_.pool.start();
  for (const auto& door : doors_) {
    asio::co_spawn(shards_.front()->io, accept_loop(door.get()), asio::detached);
  }
  for (const auto& shard : shards_) {
    shard->work.emplace(shard->io.get_executor());
    shard->thread = std::thread([&shard = *shard] { run(shard); });
  }
}

asio::awaitable<void> ServerImpl::accept_loop(Door* door) {
  while (!edge_.stopping) {
    SocketAddress peer;
    peer.size = sizeof peer.storage;
    UniqueFd fd(
        ::accept4(door->listener.fd(), peer.get(), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      admit(*door, std::move(fd), peer);
      co_await asio::post(shards_.front()->io, asio::use_awaitable);
      continue;
    }
    if (errno == EAGAIN) {
      const auto [error] = co_await door->descriptor.async_wait(
          asio::posix::stream_descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
      if (error) co_return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      // Out of descriptors or memory: the backlog keeps the connections while some are freed.
      edge_.metrics.rejected("accept");
      log::warn("accept failed", {{"error", errno_error("accept", errno).message}});
      door->pause.expires_after(kAcceptPause);
      const auto [error] = co_await door->pause.async_wait(asio::as_tuple(asio::use_awaitable));
      if (error) co_return;
    }
  }
}

void ServerImpl::admit(const Door& door, UniqueFd fd, const SocketAddress& peer) {
  Accepted accepted;
  {
    const std::lock_guard lock(edge_.mutex);
    accepted.refuse = edge_.connections >= edge_.options.connections_max;
    if (accepted.refuse && edge_.refusals >= kRefusalsMax) {
      edge_.metrics.rejected("connections");
      return;
    }
    ++edge_.connections;
    if (accepted.refuse) ++edge_.refusals;
    if (edge_.tls && !door.listener.is_unix()) accepted.ssl = new_server_tls(edge_.tls);
  }
  if (door.listener.is_unix()) {
    accepted.remote = "unix";
    accepted.credentials = peer_credentials(fd.get());
  } else {
    accepted.remote = peer.text();
    tune_tcp(fd.get());
  }
  accepted.fd = std::move(fd);
  Shard& shard = *shards_[next_shard_++ % shards_.size()];
  asio::post(shard.io, [this, &shard, accepted = std::move(accepted)]() mutable {
    const auto session = std::make_shared<Session>(edge_, shard, std::move(accepted));
    asio::co_spawn(shard.io, [session] { return session->run(); }, asio::detached);
  });
}

void ServerImpl::notify(const std::string& key, std::uint64_t value) {
  if (edge_.stopping) return;
  for (const auto& shard : shards_) {
    asio::post(shard->io, [&shard = *shard, key, value] {
      for (const auto& waiter : shard.waits.notify(key, value)) {
        if (const auto session = waiter.lock()) session->wake();
      }
    });
  }
}

Result<void> ServerImpl::reload_certificate() {
  if (!edge_.options.tls) return {};
  ASSIGN_OR_RETURN(TlsContext context, load_tls(*edge_.options.tls));
  const std::lock_guard lock(edge_.mutex);
  edge_.tls = std::move(context);
  return {};
}

void ServerImpl::close_doors() {
  for (const auto& door : doors_) {
    door->descriptor.release();  // the listener closes it
    door->pause.cancel();
    door->listener.close();
  }
}

void ServerImpl::stop(std::chrono::milliseconds grace) {
  if (stopped_) return;
  stopped_ = true;
  edge_.stopping = true;
  if (!started_) return;
  asio::post(shards_.front()->io, [this] { close_doors(); });
  on_all_sessions(&Session::drain);
  wait_for_connections(grace);
  edge_.aborting = true;
  on_all_sessions(&Session::abort);
  wait_for_connections(kAbortTime);
  // Connections whose handler is still running are left to the destructor.
  for (const auto& shard : shards_) shard->io.stop();
  for (const auto& shard : shards_) shard->thread.join();
}

void ServerImpl::on_all_sessions(void (Session::*action)()) {
  for (const auto& shard : shards_) {
    asio::post(shard->io, [&shard = *shard, action] {
      for (Session* session : shard.sessions) (session->*action)();
    });
  }
}

void ServerImpl::wait_for_connections(std::chrono::milliseconds time) {
  std::unique_lock lock(edge_.mutex);
  edge_.connections_gone.wait_for(lock, time, [this] { return edge_.connections == 0; });
}

ServerImpl::~ServerImpl() {
  stop(std::chrono::milliseconds(0));
  edge_.pool.stop();
  for (const auto& door : doors_) door->descriptor.release();
  doors_.clear();
}

Result<std::unique_ptr<Server>> Server::create(ServerOptions options, Handler handler,
                                               Metrics& metrics) {
  CHECK(handler != nullptr && options.workers > 0);
  auto server = std::make_unique<ServerImpl>(std::move(options), std::move(handler), metrics);
  RETURN_IF_ERROR(server->listen());
  return std::unique_ptr<Server>(new Server(std::move(server)));
}

Server::Server(std::unique_ptr<ServerImpl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

std::vector<std::string> Server::addresses() const { return impl_->addresses(); }
void Server::start() { impl_->start(); }
void Server::notify(const std::string& key, std::uint64_t value) { impl_->notify(key, value); }
Result<void> Server::reload_certificate() { return impl_->reload_certificate(); }
void Server::stop(std::chrono::milliseconds grace) { impl_->stop(grace); }

}  // namespace roster::http
