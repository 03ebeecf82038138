#include "http/edge.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <thread>
#include <utility>

namespace roster::http {
namespace {

/// Metric label for a method: outside bytes must not make new series.
std::string_view method_label(std::string_view method) {
  static constexpr std::array<std::string_view, 7> kKnown = {"GET",   "HEAD",   "POST",   "PUT",
                                                             "PATCH", "DELETE", "OPTIONS"};
  for (const std::string_view known : kKnown) {
    if (method == known) return known;
  }
  return "other";
}

}  // namespace

EdgeMetrics::EdgeMetrics(Metrics& metrics)
    : connections(metrics.gauge("roster_http_connections", "Open HTTP connections.")),
      parked(metrics.gauge("roster_http_parked", "Requests that wait for a change.")),
      forwards(metrics.gauge("roster_http_forwards", "Forwarded requests in progress.")),
      forward_seconds(metrics.histogram(
          "roster_http_forward_seconds",
          "From the beginning of a forwarded request to the head of the upstream's answer.", {},
          {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120})),
      queued(metrics.gauge("roster_http_queue", "Requests that wait for a worker.")),
      metrics_(metrics) {}

void EdgeMetrics::answered(std::string_view method, int status, const std::string& route,
                           std::optional<double> seconds) {
  const std::string label(method_label(method));
  const std::string code = std::to_string(status);
  const std::string shown = route.empty() ? "none" : route;
  const std::lock_guard lock(mutex_);
  const std::string key = label + ' ' + code + ' ' + shown;
  auto found = series_.find(key);
  if (found == series_.end()) {
    const Series series{
        metrics_.counter("roster_http_requests_total", "HTTP requests answered.",
                         {{"method", label}, {"code", code}, {"route", shown}}),
        metrics_.histogram("roster_http_request_seconds",
                           "From the end of a request to its answer, parked requests left out.",
                           {{"method", label}, {"route", shown}})};
    found = series_.emplace(key, series).first;
  }
  found->second.total.add();
  if (seconds) found->second.seconds.observe(*seconds);
}

void EdgeMetrics::rejected(std::string_view reason) {
  const std::lock_guard lock(mutex_);
  auto found = rejected_.find(std::string(reason));
  if (found == rejected_.end()) {
    const auto counter = metrics_.counter("roster_http_rejected_total",
                                          "Requests and connections that were refused.",
                                          {{"reason", std::string(reason)}});
    found = rejected_.emplace(reason, counter).first;
  }
  found->second.add();
}

void EdgeMetrics::forwarded(std::string_view outcome) {
  const std::lock_guard lock(mutex_);
  auto found = forwarded_.find(std::string(outcome));
  if (found == forwarded_.end()) {
    const auto counter = metrics_.counter("roster_http_forwards_total",
                                          "Forwarded requests that are over, by how they ended.",
                                          {{"outcome", std::string(outcome)}});
    found = forwarded_.emplace(outcome, counter).first;
  }
  found->second.add();
}

Edge::Edge(ServerOptions server_options, Handler request_handler, Metrics& registry)
    : options(std::move(server_options)),
      handler(std::move(request_handler)),
      metrics(registry),
      pool({.workers = options.workers,
            .computing = std::max(1U, std::thread::hardware_concurrency()),
            .queue_max = options.queue_max},
           metrics.queued) {}

const std::string& HttpDate::at(Timestamp now) {
  const auto second = std::chrono::floor<std::chrono::seconds>(now);
  if (second == second_) return text_;
  static constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                       "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = std::chrono::floor<std::chrono::days>(second);
  const std::chrono::year_month_day ymd(day);
  const std::chrono::hh_mm_ss time(second - day);
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%s, %02u %s %04d %02d:%02d:%02d GMT",
                kDays[std::chrono::weekday(day).c_encoding()], static_cast<unsigned>(ymd.day()),
                kMonths[static_cast<unsigned>(ymd.month()) - 1], static_cast<int>(ymd.year()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()));
  text_ = text.data();
  second_ = second;
  return text_;
}

}  // namespace roster::http
