#include "hub/provisioner.h"

#include "base/log.h"

namespace roster::hub {

Provisioner::Provisioner(directory::Directory& directory)
    : directory_(directory), thread_([this](const std::stop_token& stop) { run(stop); }) {}

void Provisioner::wake() {
  const std::lock_guard lock(mutex_);
  wanted_ = true;
  work_.notify_one();
}

void Provisioner::run(const std::stop_token& stop) {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (!work_.wait(lock, stop, [this] { return wanted_; })) return;
      wanted_ = false;
    }
    const auto orgs = directory_.list_orgs();
    if (!orgs) continue;  // the next wake
    for (const directory::Org& org : *orgs) provision(stop, org);
  }
}

void Provisioner::provision(const std::stop_token& stop, const directory::Org& org) {
  directory::Directory::Provisioned sum;
  while (!stop.stop_requested()) {
    const auto done = directory_.provision(org.n, sum.last);
    if (!done) {
      log::warn("people and groups still wait for their identities",
                {{"org", org.slug}, {"error", done.error().message}});
      break;
    }
    if (done->last == 0) break;
    sum.given += done->given;
    sum.refused += done->refused;
    if (done->refused > 0) sum.reason = done->reason;
    sum.last = done->last;
  }
  if (sum.given > 0) {
    log::info("people and groups got their identities", {{"org", org.slug}, {"count", sum.given}});
  }
  if (sum.refused > 0) {
    log::warn("some people and groups cannot get an identity",
              {{"org", org.slug}, {"count", sum.refused}, {"error", sum.reason}});
  }
}

}  // namespace roster::hub
