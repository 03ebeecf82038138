#include "hub/hub.h"

#include <utility>

#include "base/log.h"
#include "feed/enrollment.h"

namespace roster::hub {
namespace {

/// History that nodes may be behind; who is further behind takes a snapshot.
constexpr std::uint64_t kChangesKept = 1'000'000;

FeedOptions feed_options(const HubOptions& options) {
  FeedOptions feed = options.feed;
  feed.random = options.random;
  return feed;
}

HealthOptions health_options(const HubOptions& options) {
  return {.check_store = options.check_store,
          .data_dir = options.data_dir,
          .metrics_public = options.metrics_public,
          .clock = options.clock};
}

}  // namespace

Result<std::unique_ptr<Hub>> Hub::create(directory::Directory& directory, Metrics& metrics,
                                         HubOptions options) {
  ASSIGN_OR_RETURN(auto guard, RestoreGuard::create(directory, {.run_dir = options.run_dir,
                                                                .store = options.store,
                                                                .clock = options.clock}));
  std::unique_ptr<Hub> hub(new Hub(directory, metrics, options, std::move(guard)));
  SnapshotOptions snapshots = options.snapshots;
  snapshots.directory = options.data_dir / "snapshots";
  snapshots.clock = options.clock;
  snapshots.random = options.random;
  ASSIGN_OR_RETURN(hub->snapshots_,
                   Snapshots::create(
                       directory, metrics,
                       [self = hub.get()](const std::string& key, std::uint64_t value) {
                         self->notify(key, value);
                       },
                       std::move(snapshots)));
  return hub;
}

Hub::Hub(directory::Directory& directory, Metrics& metrics, const HubOptions& options,
         std::unique_ptr<RestoreGuard> guard)
    : directory_(directory),
      metrics_(metrics),
      guard_(std::move(guard)),
      feed_(directory, metrics, *guard_, feed_options(options)),
      enrollment_(directory, metrics, options.clock, options.ca_pem),
      health_(directory, metrics, health_options(options)),
      provisioner_(directory) {}

void Hub::add_routes(http::Router& router) {
  using http::Context;
  using http::Params;
  using http::Request;
  router.add("GET", "/api/organizations/{org}/feed",
             [this](const Request& request, Context& context, const Params& params) {
               return feed_.serve(request, context, params.get("org"));
             });
  router.add("GET", "/api/organizations/{org}/feed/snapshot",
             [this](const Request& request, Context& context, const Params& params) {
               return snapshots_->serve(request, context, params.get("org"));
             });
  router.add("POST", feed::kEnrollPath,
             [this](const Request& request, Context& context, const Params&) {
               return enrollment_.enroll(request, context);
             });
  router.add("POST", feed::kRenewPath,
             [this](const Request& request, Context& context, const Params&) {
               return enrollment_.renew(request, context);
             });
  router.add("GET", "/healthz", [this](const Request& request, Context& context, const Params&) {
    return health_.live(request, context);
  });
  router.add("GET", "/readyz", [this](const Request& request, Context& context, const Params&) {
    return health_.ready(request, context);
  });
  router.add("GET", "/metrics", [this](const Request& request, Context& context, const Params&) {
    return health_.metrics(request, context);
  });
}

void Hub::attach(Snapshots::Notify notify) {
  const bool attached = static_cast<bool>(notify);
  {
    const std::lock_guard lock(mutex_);
    notify_ = std::move(notify);
  }
  if (attached) provisioner_.wake();
}

void Hub::committed(const directory::Commit& commit) {
  guard_->committed(commit);
  metrics_
      .counter("roster_commits_total", "Commits that changed something, by organization.",
               {{"org", commit.slug}})
      .add();
  notify(feed_wait_key(commit.slug), commit.head.value);
  if (commit.settings) provisioner_.wake();
}

void Hub::notify(const std::string& key, std::uint64_t value) {
  const std::lock_guard lock(mutex_);
  if (notify_) notify_(key, value);
}

void Hub::tick() {
  snapshots_->forget_removed_views();
  provisioner_.wake();
  const auto orgs = directory_.list_orgs();
  if (!orgs) return;
  for (const directory::Org& org : *orgs) {
    tell_fuse(org);
    if (org.seq.value <= org.min_seq.value + kChangesKept) continue;
    const auto pruned = directory_.prune_changes(org.n, Seq{org.seq.value - kChangesKept});
    if (!pruned) {
      log::warn("old changes were not removed",
                {{"org", org.slug}, {"error", pruned.error().message}});
    }
  }
}

void Hub::tell_fuse(const directory::Org& org) {
  const auto fuse = directory_.fuse(org.n);
  if (!fuse) return;
  bool& held = held_[org.n];
  if (held == fuse->held) return;
  held = fuse->held;
  if (held) {
    log::warn(
        "unusually many people left: irreversible effects are held until the fuse is released",
        {{"org", org.slug}, {"leavers", fuse->leavers}, {"limit", fuse->limit}});
  } else {
    log::info("the fuse is not holding any more", {{"org", org.slug}});
  }
}

}  // namespace roster::hub
