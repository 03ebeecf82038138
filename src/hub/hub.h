#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/metrics.h"
#include "base/time.h"
#include "directory/directory.h"
#include "http/router.h"
#include "hub/enrollment.h"
#include "hub/feed_server.h"
#include "hub/health.h"
#include "hub/provisioner.h"
#include "hub/restore_guard.h"
#include "hub/snapshots.h"

namespace roster::hub {

struct HubOptions {
  std::filesystem::path data_dir;
  std::filesystem::path run_dir;  // emptied by a reboot, in no backup; empty: there is none
  std::filesystem::path store;    // of the directory
  /// Authority of the hub's own certificate, for nodes that join; empty when it is another's.
  std::string ca_pem;
  std::function<Result<void>()> check_store;
  bool metrics_public = false;
  Clock clock = system_now;
  RandomBytes random = system_random;
  /// For tests; `directory`, `clock` and `random` are set from the above.
  FeedOptions feed;
  SnapshotOptions snapshots;
};

/// The hub's own face: feed, snapshots, enrolment, health. Thread-safe.
class Hub {
 public:
  static Result<std::unique_ptr<Hub>> create(directory::Directory& directory, Metrics& metrics,
                                             HubOptions options);

  void add_routes(http::Router& router);

  /// Parked requests are woken through `notify` (http::Server::notify) from now on; an empty
  /// function ends that. When this returns, the former one is not called any more. The hub writes
  /// by itself from then on, so committed() must be called by then.
  void attach(Snapshots::Notify notify);

  /// Listener for Directory::on_commit.
  void committed(const directory::Commit& commit);

  /// Once a minute or so, by one thread: tells the log about fuses, removes old changes and
  /// snapshots of views that are gone, gives those a second chance who could get no identity.
  void tick();

 private:
  Hub(directory::Directory& directory, Metrics& metrics, const HubOptions& options,
      std::unique_ptr<RestoreGuard> guard);
  void notify(const std::string& key, std::uint64_t value);
  void tell_fuse(const directory::Org& org);

  directory::Directory& directory_;
  Metrics& metrics_;
  const std::unique_ptr<RestoreGuard> guard_;
  FeedServer feed_;
  Enrollment enrollment_;
  Health health_;

  std::mutex mutex_;  // guards notify_
  Snapshots::Notify notify_;
  std::map<directory::OrgN, bool> held_;  // as last said; tick only

  // Last: their threads use the rest.
  std::unique_ptr<Snapshots> snapshots_;
  Provisioner provisioner_;
};

}  // namespace roster::hub
