#include "load.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "base/file.h"
#include "http/client.h"
#include "http/socket.h"
#include "http/tls.h"

namespace roster::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

constexpr std::size_t kHeaderBytesMax = 64 << 10;

template <typename T>
T must(Result<T> result) {
  if (!result) die(result.error().message);
  return std::move(*result);
}

microseconds cpu_time() {
  struct rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const struct timeval& time) {
    return std::chrono::seconds(time.tv_sec) + microseconds(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

void wait_for(int fd, short events) {
  struct pollfd polled{.fd = fd, .events = events, .revents = 0};
  while (::poll(&polled, 1, -1) < 0) {
    if (errno != EINTR) die(std::string("poll: ") + std::strerror(errno));
  }
}

}  // namespace

void die(const std::string& why) {
  std::fprintf(stderr, "scim_load: %s\n", why.c_str());
  std::exit(1);
}

Service::Service(const std::string& url, const std::string& token_file,
                 const std::string& ca_file) {
  http::Url parsed = must(http::Url::parse(url));
  const std::string token = must(read_private_file(token_file, 4096));
  host_ = parsed.host;
  port_ = parsed.port;
  base_ = parsed.path;
  fields_ = " HTTP/1.1\r\nHost: " + host_ + ':' + port_ +
            "\r\nUser-Agent: scim_load\r\nAccept: application/scim+json\r\nAuthorization: Bearer " +
            token.substr(0, token.find('\n')) + "\r\n";
  if (parsed.scheme == "https") {
    http::ClientOptions options;
    options.url = url;
    options.ca_file = ca_file;
    tls_ = must(http::client_tls_context(options));
  }
}

std::string Service::get(std::string_view target) const {
  std::string text = "GET ";
  return text.append(base_).append(target).append(fields_).append("\r\n");
}

std::string Service::with_body(std::string_view method, std::string_view target,
                               std::string_view body) const {
  std::string text(method);
  text.append(" ").append(base_).append(target).append(fields_);
  text.append("Content-Type: application/scim+json\r\nContent-Length: ");
  return text.append(std::to_string(body.size())).append("\r\n\r\n").append(body);
}

http::Transport Service::connect() const {
  const auto addresses = must(http::resolve(host_, port_, /*passive=*/false));
  const http::SocketAddress& address = addresses.front();
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() || ::connect(fd.get(), address.get(), address.size) != 0) {
    die("connect " + address.text() + ": " + std::strerror(errno));
  }
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  http::SslPtr ssl;
  if (tls_) ssl = must(http::new_client_tls(tls_, host_));
  http::Transport transport(std::move(fd), std::move(ssl));
  // The socket waits until here; from now on the poller does.
  if (transport.handshake().state != http::Transport::State::kDone) die(transport.error());
  const int flags = ::fcntl(transport.fd(), F_GETFL);
  ::fcntl(transport.fd(), F_SETFL, flags | O_NONBLOCK);
  return transport;
}

Connection::Connection(http::Transport transport)
    : transport_(std::move(transport)), parser_(kHeaderBytesMax, false) {}

void Connection::send(std::string_view request) {
  parser_ = http::ResponseParser(kHeaderBytesMax, false);
  body_.clear();
  idle_ = false;
  while (!request.empty()) {
    const http::Transport::Io io = transport_.write(request);
    switch (io.state) {
      case http::Transport::State::kDone:
        request.remove_prefix(io.bytes);
        break;
      case http::Transport::State::kWantWrite:
        wait_for(transport_.fd(), POLLOUT);
        break;
      case http::Transport::State::kWantRead:
        wait_for(transport_.fd(), POLLIN);
        break;
      case http::Transport::State::kEof:
      case http::Transport::State::kError:
        die("sending: " + transport_.error());
    }
  }
}

bool Connection::receive() {
  if (idle_) die("the server closes, or sends without being asked");
  while (!parser_.done()) {
    const http::Transport::Io io = transport_.read(buffer_);
    if (io.state == http::Transport::State::kWantRead) return false;
    if (io.state != http::Transport::State::kDone) die("receiving: " + transport_.error());
    std::string_view in(buffer_.data(), io.bytes);
    if (!rest_.empty()) in = rest_.append(in);
    while (!in.empty() && !parser_.done()) {
      const std::size_t used = must(parser_.put(in));
      in.remove_prefix(used);
      if (used == 0) break;
    }
    rest_ = std::string(in);
    if (parser_.head_done()) body_ += parser_.take_body();
  }
  if (!rest_.empty() || !parser_.keep_alive()) die("the server ends the connection");
  idle_ = true;
  return true;
}

Poller::Poller(std::vector<Connection>& connections) : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  for (std::size_t i = 0; i < connections.size(); ++i) {
    struct epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connections[i].fd(), &event) == 0);
  }
}

const std::vector<std::size_t>& Poller::wait(nanoseconds timeout) {
  std::array<struct epoll_event, 256> events{};
  const struct timespec limit{.tv_sec = timeout.count() / 1'000'000'000,
                              .tv_nsec = timeout.count() % 1'000'000'000};
  const int count = ::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                   timeout < nanoseconds::zero() ? nullptr : &limit, nullptr);
  ready_.clear();
  for (int i = 0; i < count; ++i) ready_.push_back(events[static_cast<std::size_t>(i)].data.u64);
  return ready_;
}

Samples::Samples() : begin_(Clock::now()), cpu_begin_(cpu_time()) {}

void Samples::print(std::string_view operation, std::size_t clients, std::uint64_t items,
                    std::string_view more) {
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  const auto cpu = static_cast<double>((cpu_time() - cpu_begin_).count());
  std::ranges::sort(us_);
  const auto at = [this](double share) {
    return us_.at(static_cast<std::size_t>(share * static_cast<double>(us_.size() - 1)));
  };
  std::printf(
      "{\"operation\":\"%.*s\",\"clients\":%zu,\"requests\":%zu,\"seconds\":%.3f,"
      "\"per_second\":%.1f,\"median_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,"
      "\"client_cpu_us\":%.2f%.*s}\n",
      static_cast<int>(operation.size()), operation.data(), clients, us_.size(), seconds,
      static_cast<double>(items) / seconds, at(0.5), at(0.99), at(1),
      cpu / static_cast<double>(us_.size()), static_cast<int>(more.size()), more.data());
  std::fflush(stdout);
}

Samples closed_loop(std::vector<Connection>& connections, std::uint64_t count,
                    const std::function<std::string(std::uint64_t n)>& make,
                    const std::function<void(std::uint64_t n, const std::string& body)>& answered) {
  struct Sent {
    std::uint64_t n = 0;
    Clock::time_point at;
  };
  std::vector<Sent> sent(connections.size());
  Poller poller(connections);
  std::uint64_t next = 0;
  const auto send_next = [&connections, &sent, &next, &make](std::size_t i) {
    const std::string request = make(next);
    sent[i] = {next++, Clock::now()};
    connections[i].send(request);
  };
  Samples samples;
  for (std::size_t i = 0; i < connections.size() && next < count; ++i) send_next(i);
  while (samples.size() < count) {
    for (const std::size_t i : poller.wait(nanoseconds(-1))) {
      Connection& connection = connections[i];
      if (!connection.receive()) continue;
      samples.add(Clock::now() - sent[i].at);
      if (connection.status() / 100 != 2) {
        die(std::to_string(connection.status()) + " " + connection.body());
      }
      answered(sent[i].n, connection.body());
      if (next < count) send_next(i);
    }
  }
  return samples;
}

}  // namespace roster::bench
