#include "http/upstream.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "http/outbound.h"
#include "http/upstream_pool.h"
#include "http/wire.h"

namespace roster::http {

UpstreamPool::UpstreamPool(UpstreamOptions upstream_options, Url upstream_url, TlsContext context)
    : options(std::move(upstream_options)), url(std::move(upstream_url)), tls(std::move(context)) {}

UpstreamPool::Slot UpstreamPool::enter() {
  const bool full = forwards_.fetch_add(1) >= options.forwards_max;
  Slot slot(this);
  if (full) slot.reset();
  return slot;
}

std::optional<Transport> UpstreamPool::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::nullopt;
  Transport transport = std::move(idle_.back().transport);
  idle_.pop_back();
  return transport;
}

bool UpstreamPool::keep(Transport idle, Time now) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() >= options.idle_max) return false;
  idle_.push_back({std::move(idle), now});
  return !std::exchange(watched_, true);
}

std::optional<UpstreamPool::Time> UpstreamPool::sweep(Time now) {
  std::vector<Idle> old;  // closed without the lock
  const std::lock_guard lock(mutex_);
  const auto end = std::ranges::find_if(
      idle_, [&](const Idle& idle) { return now - idle.since < options.idle_timeout; });
  std::move(idle_.begin(), end, std::back_inserter(old));
  idle_.erase(idle_.begin(), end);
  if (!idle_.empty()) return idle_.front().since + options.idle_timeout;
  watched_ = false;
  return std::nullopt;
}

void UpstreamPool::unwatch() {
  const std::lock_guard lock(mutex_);
  watched_ = false;
}

Result<std::shared_ptr<Upstream>> Upstream::create(UpstreamOptions options) {
  ASSIGN_OR_RETURN(Url url, Url::parse(options.url));
  RETURN_IF_ERROR(check_plain_http(url, options.allow_plain_http));
  if (url.scheme == "unix") {
    RETURN_IF_ERROR(unix_address(url.path));
  }
  if (!is_field_value(options.name) || !is_field_value(options.user_agent)) {
    return fail(Code::kInvalidArgument, "the upstream's name or user agent is not plain text");
  }
  TlsContext tls;
  if (url.scheme == "https") {
    ClientOptions trust;
    trust.ca_file = options.ca_file;
    trust.ca_pem = options.ca_pem;
    trust.ca_sha256 = options.ca_sha256;
    ASSIGN_OR_RETURN(tls, client_tls_context(trust));
  }
  return std::shared_ptr<Upstream>(new Upstream(
      std::make_unique<UpstreamPool>(std::move(options), std::move(url), std::move(tls))));
}

Upstream::Upstream(std::unique_ptr<UpstreamPool> pool) : pool_(std::move(pool)) {}
Upstream::~Upstream() = default;

}  // namespace roster::http
