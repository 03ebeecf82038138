// Answers of an upstream as bytes, through the forwarding edge and out again to a caller. Whatever
// comes, the caller gets one well-formed answer: the upstream's, whole and with nothing but what
// may pass; or one of the edge's own; or a body that is seen to be broken. The first byte chooses
// who asks and how: a judge, HEAD, HTTP/1.0, and where the bytes are cut in two.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/unicode.h"
#include "http/outbound.h"
#include "http/server.h"
#include "http/socket.h"
#include "http/upstream.h"
#include "http/wire.h"

namespace {

namespace http = roster::http;
using roster::UniqueFd;

constexpr std::uint64_t kBodyMax = 2000;
constexpr std::size_t kJudgeMax = 100;

/// The fuzzer's own alarm interrupts system calls.
template <typename Call>
auto again(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

ssize_t receive(int fd, std::span<char> into) {
  return again([fd, into] { return ::recv(fd, into.data(), into.size(), 0); });
}

/// What somebody who reads these bytes takes them for.
struct Reading {
  bool whole = false;
  int status = 0;
  http::Headers headers;
  std::string body;
};

/// The answer after any interim ones, as the upstream means it; `whole` only when it may pass.
Reading read_upstream(std::string_view bytes, bool to_head) {
  Reading reading;
  for (int interim = 0; interim <= http::kInterimMax; ++interim) {
    http::ResponseParser parser(http::kAnswerHeaderBytesMax, to_head);
    while (!bytes.empty() && !parser.done()) {
      const auto used = parser.put(bytes);
      if (!used) return reading;
      bytes.remove_prefix(*used);
      if (*used == 0) break;
    }
    if (!parser.put_eof()) return reading;
    if (parser.status() / 100 == 1 && parser.status() != 101) continue;
    reading.status = parser.status();
    reading.body = parser.take_body();
    reading.whole =
        reading.status >= 200 && reading.status <= 599 && reading.body.size() <= kBodyMax;
    return reading;
  }
  return reading;
}

class Loop {
 public:
  Loop() {
    roster::log::configure(roster::log::Level::kError, roster::log::Format::kText);
    std::string name = "/tmp/roster-fuzz-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    directory_ = name;
    upstream_.emplace(*http::Listener::open("unix:" + name + "/up.sock", 0600));
    const int flags = ::fcntl(upstream_->fd(), F_GETFL);
    ::fcntl(upstream_->fd(), F_SETFL, flags & ~O_NONBLOCK);
    http::UpstreamOptions upstream;
    upstream.url = upstream_->address();
    target_ = *http::Upstream::create(std::move(upstream));
    http::ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.workers = 1;
    server_ = *http::Server::create(
        std::move(options),
        [this](const http::Request& request, http::Context&) { return forward(request); },
        metrics_);
    server_->start();
  }
  ~Loop() {
    server_.reset();
    upstream_.reset();
    ::rmdir(directory_.c_str());
  }

  Reading exchange(std::uint8_t how, std::string_view bytes) {
    const bool head = (how & 2) != 0;
    const bool old = (how & 4) != 0;
    if (caller_.get() < 0) connect();
    const std::string path = (how & 1) != 0 ? "/judged" : "/";
    say(caller_.get(), (head ? "HEAD " : "GET ") + path +
                           (old ? " HTTP/1.0\r\n\r\n" : " HTTP/1.1\r\nHost: x\r\n\r\n"));
    const UniqueFd peer(again([this] { return ::accept(upstream_->fd(), nullptr, nullptr); }));
    std::array<char, 4096> request;
    std::string seen;
    while (!seen.ends_with("\r\n\r\n")) {
      const ssize_t got = receive(peer.get(), request);
      CHECK(got > 0);
      seen.append(request.data(), static_cast<std::size_t>(got));
    }
    const std::size_t cut =
        std::min<std::size_t>(bytes.size(), static_cast<std::size_t>(how >> 3U) * 4);
    say(peer.get(), bytes.substr(0, cut));
    say(peer.get(), bytes.substr(cut));
    ::shutdown(peer.get(), SHUT_RDWR);
    return read_caller(head);
  }

 private:
  http::Response forward(const http::Request& request) {
    http::ForwardBody body;
    body.upstream = target_;
    body.method = request.method;
    body.answer_bytes_max = kBodyMax;
    body.judge_bytes_max = kJudgeMax;
    if (request.path == "/judged") {
      body.judge = [](int status, http::Headers headers, std::optional<std::string_view> text) {
        CHECK(status >= 200 && status <= 599);
        CHECK(!text || text->size() <= kJudgeMax);
        return http::Verdict{std::move(headers), std::nullopt};
      };
    }
    http::Response response;
    response.body = std::move(body);
    return response;
  }

  static void say(int fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent =
          again([fd, text] { return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL); });
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  void connect() {
    const std::string address = server_->addresses().front();
    const std::size_t colon = address.rfind(':');
    const auto to = http::resolve_numeric(address.substr(0, colon), address.substr(colon + 1));
    caller_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(::connect(caller_.get(), to->front().get(), to->front().size) == 0);
  }

  Reading read_caller(bool to_head) {
    Reading reading;
    http::ResponseParser parser(http::kAnswerHeaderBytesMax, to_head);
    std::array<char, 16384> buffer;
    std::string in;
    while (!parser.done()) {
      const ssize_t got = receive(caller_.get(), buffer);
      if (got <= 0) {
        reading.whole = got == 0 && parser.put_eof().has_value();
        break;
      }
      in.append(buffer.data(), static_cast<std::size_t>(got));
      while (!in.empty() && !parser.done()) {
        const auto used = parser.put(in);
        CHECK(used.has_value());
        in.erase(0, *used);
        if (*used == 0) break;
      }
    }
    CHECK(parser.head_done());
    CHECK(!parser.done() || in.empty());
    reading.whole = reading.whole || parser.done();
    reading.status = parser.status();
    reading.headers = std::move(parser.headers());
    reading.body = parser.take_body();
    if (!reading.whole || !parser.keep_alive()) caller_ = UniqueFd();
    return reading;
  }

  std::string directory_;
  std::optional<http::Listener> upstream_;
  std::shared_ptr<http::Upstream> target_;
  roster::Metrics metrics_;
  std::unique_ptr<http::Server> server_;
  UniqueFd caller_;
};

bool may_pass(std::string_view name) {
  static constexpr std::array<std::string_view, 24> kKnown = {
      "Accept-Ranges", "Allow", "Content-Disposition", "Content-Encoding", "Content-Language",
      "Content-Range", "Content-Type", "Deprecation", "Digest", "ETag", "Last-Modified",
      "Retry-After", "Sunset", "Vary", "Warning",
      // The edge's own.
      "Content-Security-Policy", "Date", "X-Content-Type-Options", "Cache-Control", "X-Request-Id",
      "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive"};
  return std::ranges::any_of(
      kKnown, [name](std::string_view known) { return roster::ascii_iequals(name, known); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Loop loop;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool head = (data[0] & 2) != 0;
  const Reading meant = read_upstream(bytes, head);
  const Reading told = loop.exchange(data[0], bytes);
  for (const auto& [name, value] : told.headers.all()) {
    CHECK(may_pass(name) && http::is_field_value(value));
  }
  if (meant.whole) {
    CHECK(told.whole && told.status == meant.status && told.body == meant.body);
  } else {
    // An answer of the edge's own, or one that broke off after it had begun.
    CHECK(told.whole ? told.status == 502 && !told.headers.has("Content-Security-Policy")
                     : told.status == meant.status || meant.status == 0);
  }
  return 0;
}
