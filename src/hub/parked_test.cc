#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "hub/test_hub.h"

namespace roster::hub {
namespace {

using testing::TestHub;

constexpr std::size_t kNodes = 2'000;

/// Both ends of each connection are ours.
bool raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 2 * kNodes + 200;
}

UniqueFd connect_to(const std::string& address) {
  const auto colon = address.rfind(':');
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<std::uint16_t>(std::atoi(address.c_str() + colon + 1)));
  ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &where.sin_addr);
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  return fd;
}

/// Reads until the stream's end line is there or `deadline` passes.
bool read_answer(int fd, std::chrono::steady_clock::time_point deadline, std::string& text) {
  while (text.find("\"t\":\"end\"") == std::string::npos) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) <= 0) return false;
    char buffer[4096];
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) return false;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return true;
}

bool await_parked(TestHub& hub, std::size_t count) {
  const std::string line = "roster_http_parked " + std::to_string(count) + "\n";
  for (int attempt = 0; attempt < 6'000; ++attempt) {
    if (hub.metrics().render().contains(line)) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// Would catch: a parked request that costs a thread, is lost at the wake, or renders for itself.
TEST(Feed, TwoThousandParkedNodesHearOfOneChange) {
  if (!raise_descriptor_limit()) GTEST_SKIP() << "not enough file descriptors allowed";
  TestHub hub;
  const std::string credential = hub.enroll("login1");
  const std::string request =
      "GET /api/organizations/acme/feed?since=" + hub.cursor(hub.org().seq.value) +
      "&wait=60 HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer " + credential + "\r\n\r\n";
  std::vector<UniqueFd> nodes;
  for (std::size_t i = 0; i < kNodes; ++i) {
    nodes.push_back(connect_to(hub.address()));
    ASSERT_EQ(::send(nodes.back().get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    // The server's queue of waiting requests is shorter than this crowd.
    if (i % 100 == 99) ASSERT_TRUE(await_parked(hub, i + 1));
  }
  const auto began = std::chrono::steady_clock::now();
  hub.add_user("ada");
  std::size_t told = 0;
  for (const UniqueFd& node : nodes) {
    std::string text;
    if (!read_answer(node.get(), began + std::chrono::seconds(60), text)) continue;
    if (text.contains("200 OK") && text.contains("\"name\":\"ada\"")) ++told;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  RecordProperty("seconds", std::to_string(took.count()));
  EXPECT_EQ(told, kNodes);
  EXPECT_NE(hub.metrics().render().find("roster_feed_parts_rendered_total 1"), std::string::npos);
}

}  // namespace
}  // namespace roster::hub
