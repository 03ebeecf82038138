#include "http/testing/running_server.h"

#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

namespace roster::http::testing {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

RunningServer::RunningServer(Handler handler, ServerOptions options) {
  if (options.listen.empty()) options.listen = {"127.0.0.1:0"};
  auto created = Server::create(std::move(options), std::move(handler), metrics);
  CHECK(created.has_value());
  server = std::move(*created);
  server->start();
}

RunningServer::~RunningServer() { server->stop(milliseconds(1'000)); }

double RunningServer::metric(std::string_view series) const {
  const std::string text = metrics.render();
  const std::string line = "\n" + std::string(series) + ' ';
  const std::size_t at = text.find(line);
  return at == std::string::npos ? 0 : std::strtod(text.c_str() + at + line.size(), nullptr);
}

bool RunningServer::await_metric(std::string_view series, double value) const {
  const auto deadline = steady_clock::now() + std::chrono::seconds(5);
  while (steady_clock::now() < deadline) {
    if (metric(series) == value) return true;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return false;
}

}  // namespace roster::http::testing
