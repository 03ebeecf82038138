// What the forwarding edge costs: the same requests to an upstream directly and through a second
// server that forwards them, each in a process of its own. Rates for small answers, throughput for
// an answer of 100 MB with a length and in chunks, and the memory of the process that forwards
// while slow callers hold large answers.
//   forward_bench [SECONDS-PER-WINDOW]

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "base/result.h"
#include "base/text.h"
#include "http/client.h"
#include "http/respond.h"
#include "http/server.h"
#include "http/socket.h"
#include "http/upstream.h"
#include "http/wire.h"

namespace {

using namespace roster;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kSmall = 1000;
constexpr std::size_t kLarge = 100'000'000;
constexpr std::size_t kChunk = 64 << 10;
constexpr int kRounds = 5;

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "forward_bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) die(result.error().message);
  return std::move(*result);
}

/// A server in a process of its own, which ends with this one.
class Process {
 public:
  Process(const std::string& listen, const http::Handler& handler) {
    std::array<int, 2> ready{};
    if (::pipe(ready.data()) != 0) die("pipe");
    pid_ = ::fork();
    if (pid_ < 0) die("fork");
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      Metrics metrics;
      http::ServerOptions options;
      options.listen = {listen, "127.0.0.1:0"};
      auto server = must(http::Server::create(std::move(options), handler, metrics));
      server->start();
      const std::string address = server->addresses().back() + '\n';
      if (::write(ready[1], address.data(), address.size()) < 0) die("write");
      while (true) ::pause();
    }
    ::close(ready[1]);
    char c = 0;
    while (::read(ready[0], &c, 1) == 1 && c != '\n') address_ += c;
    ::close(ready[0]);
  }
  ~Process() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Of its TCP socket.
  const std::string& address() const { return address_; }
  /// VmRSS or VmHWM of proc(5), in MiB.
  double memory(const std::string& field) const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with(field + ':'))
        return std::strtod(line.c_str() + field.size() + 1, nullptr) / 1024;
    }
    die("no " + field);
  }

 private:
  pid_t pid_ = -1;
  std::string address_;
};

http::Response upstream_answer(const http::Request& request, http::Context&) {
  static const auto small = std::make_shared<const std::string>(kSmall, 's');
  static const auto large = std::make_shared<const std::string>(kLarge, 'l');
  http::Response response;
  response.headers.set("Content-Type", "application/json");
  if (request.path == "/small") response.body = small;
  if (request.path == "/large") response.body = large;
  if (request.path == "/chunks") {
    response.body = http::ChunksBody{[left = kLarge]() mutable -> Result<std::string> {
      const std::size_t size = std::min(left, kChunk);
      left -= size;
      return std::string(size, 'c');
    }};
  }
  return response;
}

UniqueFd connect_to(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  const auto to = http::resolve_numeric(address.substr(0, colon), address.substr(colon + 1));
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), to->front().get(), to->front().size) != 0) die("connect " + address);
  return fd;
}

void say(int fd, std::string_view text) {
  if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    die("send");
  }
}

std::string get(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n\r\n";
}

/// Small answers per second, over so many kept-alive connections with one request in flight each.
double small_rate(const std::string& address, std::size_t clients, milliseconds time) {
  const std::string request = get("/small");
  std::vector<UniqueFd> fds;
  std::vector<pollfd> polled;
  std::vector<std::size_t> got(clients);
  for (std::size_t i = 0; i < clients; ++i) {
    fds.push_back(connect_to(address));
    polled.push_back({fds[i].get(), POLLIN, 0});
    say(fds[i].get(), request);
  }
  std::size_t whole = 0;  // bytes of one answer, learnt from the first
  std::vector<char> buffer(64 << 10);
  std::uint64_t answers = 0;
  const auto begin = Clock::now();
  while (Clock::now() - begin < time) {
    ::poll(polled.data(), polled.size(), 1000);
    for (std::size_t i = 0; i < clients; ++i) {
      if (polled[i].revents == 0) continue;
      const ssize_t size = ::recv(fds[i].get(), buffer.data(), buffer.size(), 0);
      if (size <= 0) die("the server closed");
      got[i] += static_cast<std::size_t>(size);
      if (whole == 0) {
        const std::string_view text(buffer.data(), got[i]);
        if (!text.starts_with("HTTP/1.1 200") || !text.ends_with('s')) die(std::string(text));
        whole = got[i];
      }
      if (got[i] < whole) continue;
      got[i] = 0;
      ++answers;
      say(fds[i].get(), request);
    }
  }
  return static_cast<double>(answers) / std::chrono::duration<double>(Clock::now() - begin).count();
}

/// MB/s of one large answer, read and thrown away.
double large_rate(const std::string& address, std::string_view path) {
  const UniqueFd fd = connect_to(address);
  std::vector<char> buffer(256 << 10);
  const auto begin = Clock::now();
  say(fd.get(), "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  std::size_t total = 0;
  ssize_t size = 0;
  while ((size = ::recv(fd.get(), buffer.data(), buffer.size(), 0)) > 0) {
    total += static_cast<std::size_t>(size);
  }
  if (total < kLarge || total > kLarge + kLarge / 100) die(std::to_string(total) + " bytes");
  return static_cast<double>(kLarge) / 1e6 /
         std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Windows of both alternate, and the ratio is of the medians.
template <typename Measure>
void compare(const char* what, const char* unit, const Process& upstream, const Process& gateway,
             Measure measure) {
  std::vector<double> direct;
  std::vector<double> forwarded;
  for (int i = 0; i < kRounds; ++i) {
    direct.push_back(measure(upstream.address()));
    forwarded.push_back(measure(gateway.address()));
  }
  std::printf("%-32s direct %9.0f %s   forwarded %9.0f %s   ratio %.2f\n", what, median(direct),
              unit, median(forwarded), unit, median(forwarded) / median(direct));
  std::fflush(stdout);
}

/// Callers that take the beginning of a large answer and no more.
void hold_large_answers(const Process& gateway, std::size_t callers) {
  std::printf("memory of the process that forwards: %.1f MiB, at most %.1f\n",
              gateway.memory("VmRSS"), gateway.memory("VmHWM"));
  std::vector<UniqueFd> slow;
  std::array<char, 1000> beginning{};
  for (std::size_t i = 0; i < callers; ++i) {
    slow.push_back(connect_to(gateway.address()));
    say(slow.back().get(), get(i % 2 == 0 ? "/large" : "/chunks"));
  }
  for (const UniqueFd& fd : slow) {
    if (::recv(fd.get(), beginning.data(), beginning.size(), 0) <= 0) die("the server closed");
  }
  double before = 0;
  while (before != gateway.memory("VmRSS")) {
    before = gateway.memory("VmRSS");
    std::this_thread::sleep_for(milliseconds(200));
  }
  std::printf("while %zu callers hold 100 MB each: %.1f MiB, at most %.1f\n", callers,
              gateway.memory("VmRSS"), gateway.memory("VmHWM"));
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1;
  if (!(seconds > 0)) die("usage: forward_bench [SECONDS-PER-WINDOW]");
  const milliseconds window(static_cast<int>(seconds * 1000));
  std::string directory = "/tmp/roster-forward-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) die("mkdtemp");
  const std::string socket = "unix:" + directory + "/upstream.sock";
  {
    const Process upstream(socket, upstream_answer);
    http::UpstreamOptions options;
    options.name = "the upstream";
    options.url = socket;
    options.forwards_max = options.idle_max = 1000;
    const auto target = must(http::Upstream::create(std::move(options)));
    const auto forward = [target](const http::Request& request, bool judged) {
      http::ForwardBody body;
      body.upstream = target;
      body.target = request.path;
      if (judged) {
        body.judge = [](int, http::Headers headers, std::optional<std::string_view>) {
          return http::Verdict{std::move(headers), std::nullopt};
        };
      }
      http::Response response;
      response.body = std::move(body);
      return response;
    };
    const Process gateway("unix:" + directory + "/gateway.sock",
                          [&forward](const http::Request& request, http::Context&) {
                            return forward(request, false);
                          });
    const Process judging("unix:" + directory + "/judging.sock",
                          [&forward](const http::Request& request, http::Context&) {
                            return forward(request, true);
                          });
    for (const std::size_t clients : {1UL, 16UL, 64UL}) {
      const auto rate = [clients, window](const std::string& address) {
        return small_rate(address, clients, window);
      };
      const std::string what = "small, clients: " + std::to_string(clients);
      compare(what.c_str(), "/s", upstream, gateway, rate);
      compare((what + ", judged").c_str(), "/s", upstream, judging, rate);
    }
    for (const char* path : {"/large", "/chunks"}) {
      compare(path, "MB/s", upstream, gateway,
              [path](const std::string& address) { return large_rate(address, path); });
    }
    hold_large_answers(gateway, 64);
  }
  for (const char* name : {"/upstream.sock", "/gateway.sock", "/judging.sock"}) {
    ::unlink((directory + name).c_str());
  }
  ::rmdir(directory.c_str());
}
