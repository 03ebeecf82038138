#include "agent/control.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string>
#include <utility>

#include "base/unicode.h"
#include "http/message.h"
#include "http/router.h"

namespace roster::agent {
namespace {

constexpr int kWaitSecondsMax = 3600;
constexpr int kWaitSecondsDefault = 30;

http::Response text(int status, std::string body, std::string_view type) {
  http::Response response;
  response.status = status;
  response.headers.set("Content-Type", type);
  response.body = std::move(body);
  return response;
}

http::Response answer_wait(const http::Request& request, const http::Context& context,
                           const NodeCache& cache) {
  const auto query = http::Query::parse(request.query);
  if (!query) return text(400, "bad query\n", "text/plain");
  int seconds = kWaitSecondsDefault;
  if (const auto given = query->get("seconds")) {
    const auto [end, code] = std::from_chars(given->data(), given->data() + given->size(), seconds);
    if (code != std::errc() || seconds < 0 || seconds > kWaitSecondsMax) {
      return text(400, "bad seconds\n", "text/plain");
    }
  }
  const auto user = query->get("user");
  const std::uint64_t generation = cache.generation();
  if (user ? cache.serves_user(*user) : generation > 0) return text(200, "ready\n", "text/plain");
  if (context.wait_expired || seconds == 0) return text(503, "not yet\n", "text/plain");
  http::Response parked;
  parked.body = http::WaitBody{
      .key = kGenerationKey, .after = generation, .deadline = std::chrono::seconds(seconds)};
  return parked;
}

}  // namespace

Result<std::unique_ptr<http::Server>> create_control_server(const Config& config, NodeCache& cache,
                                                            const StatusBoard& status,
                                                            Metrics& metrics, Clock clock) {
  http::Router router;
  router.add("GET", "/status",
             [&cache, &status, clock](const http::Request&, http::Context&, const http::Params&) {
               return text(200, status.to_json(cache.view(), clock()), "application/json");
             });
  router.add("GET", "/metrics",
             [&metrics](const http::Request&, http::Context&, const http::Params&) {
               return text(200, metrics.render(), "text/plain; version=0.0.4");
             });
  router.add("GET", "/wait",
             [&cache](const http::Request& request, http::Context& context, const http::Params&) {
               return answer_wait(request, context, cache);
             });
  http::ServerOptions options;
  options.listen = {"unix:" + config.socket.string()};
  options.unix_mode = 0660;
  options.io_threads = 1;
  options.workers = 1;
  options.queue_max = 64;
  options.connections_max = 256;
  options.body_bytes_max = 0;
  options.clock = clock;
  // Shared: std::function copies what it holds.
  auto shared = std::make_shared<http::Router>(std::move(router));
  return http::Server::create(
      std::move(options),
      [shared](const http::Request& request, http::Context& context) {
        return (*shared)(request, context);
      },
      metrics);
}

}  // namespace roster::agent
