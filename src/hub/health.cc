#include "hub/health.h"

#include <sys/statvfs.h>

#include <cerrno>
#include <string>
#include <utility>

#include "base/file.h"
#include "http/respond.h"
#include "hub/access.h"
#include "hub/errors.h"

namespace roster::hub {
namespace {

/// A probe of everybody must not become a load on the store.
constexpr std::chrono::seconds kCheckInterval{1};

/// The request comes from this machine itself, not from a proxy on it that speaks for others.
bool is_local(const http::Request& request, const http::Context& context) {
  if (request.headers.has("Forwarded") || request.headers.has("X-Forwarded-For")) return false;
  return context.remote == "unix" || context.remote.starts_with("127.") ||
         context.remote.starts_with("[::1]:");
}

}  // namespace

Health::Health(directory::Directory& directory, Metrics& metrics, HealthOptions options)
    : directory_(directory), metrics_(metrics), options_(std::move(options)) {}

http::Response Health::live(const http::Request&, http::Context&) {
  return http::text_response(200, "ok");
}

http::Response Health::ready(const http::Request&, http::Context&) {
  const auto checked = check();
  if (checked) return http::text_response(200, "ready");
  http::Response response =
      http::text_response(503, "not ready: " + std::string(code_name(checked.error().code)));
  response.headers.set("Retry-After", "5");
  return response;
}

http::Response Health::metrics(const http::Request& request, http::Context& context) {
  if (const auto allowed = may_read_metrics(request, context); !allowed) {
    return error_response(allowed.error(), context);
  }
  if (const auto collected = collect(); !collected) {
    return error_response(collected.error(), context);
  }
  http::Response response;
  response.headers.set("Content-Type", "text/plain; version=0.0.4");
  response.body = metrics_.render();
  return response;
}

Result<void> Health::check() {
  const Timestamp now = options_.clock();
  const std::lock_guard lock(mutex_);
  if (!checked_at_ || now - *checked_at_ >= kCheckInterval || now < *checked_at_) {
    last_ = check_now();
    checked_at_ = now;
    metrics_.gauge("roster_ready", "1 when the store can read and write and the disk has room.")
        .set(last_ ? 1 : 0);
  }
  return last_;
}

Result<void> Health::check_now() const {
  RETURN_IF_ERROR(options_.check_store());
  struct statvfs space{};
  if (::statvfs(options_.data_dir.c_str(), &space) != 0) {
    return std::unexpected(errno_error("statvfs " + options_.data_dir.string(), errno));
  }
  const auto free_bytes = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
  metrics_.gauge("roster_disk_free_bytes", "Free space of the data directory's file system.")
      .set(static_cast<double>(free_bytes));
  if (free_bytes < options_.disk_free_min) {
    return fail(Code::kUnavailable, "the data directory's file system is almost full");
  }
  return {};
}

Result<void> Health::may_read_metrics(const http::Request& request, const http::Context& context) {
  if (options_.metrics_public || is_local(request, context)) return {};
  ASSIGN_OR_RETURN(const std::string_view token, bearer_credential(request.headers));
  ASSIGN_OR_RETURN(const directory::Actor actor, directory_.authenticate(token));
  if (actor.scope == directory::Scope::kOperator) return {};
  return fail(Code::kPermissionDenied, "metrics are for operator tokens");
}

/// What is cheaper to ask for at a scrape than to keep up to date.
Result<void> Health::collect() {
  static_cast<void>(check());
  ASSIGN_OR_RETURN(const auto orgs, directory_.list_orgs());
  ASSIGN_OR_RETURN(const auto nodes, directory_.list_nodes(std::nullopt));
  gauges_.publish(metrics_, orgs, nodes, options_.clock());
  for (const directory::Org& org : orgs) {
    const Metrics::Labels labels{{"org", org.slug}};
    const auto set = [&](const char* name, const char* help, double value) {
      metrics_.gauge(name, help, labels).set(value);
    };
    set("roster_org_users", "People, inactive ones too.", static_cast<double>(org.users));
    set("roster_org_active_users", "Active people.", static_cast<double>(org.active_users));
    set("roster_org_groups", "Groups.", static_cast<double>(org.groups));
    set("roster_org_head", "Number of the last change.", static_cast<double>(org.seq.value));
    ASSIGN_OR_RETURN(const auto fuse, directory_.fuse(org.n));
    set("roster_fuse_held", "1 while irreversible effects of leavers are held.", fuse.held ? 1 : 0);
    set("roster_fuse_leavers", "People who left within the last hour.",
        static_cast<double>(fuse.leavers));
  }
  return {};
}

}  // namespace roster::hub
