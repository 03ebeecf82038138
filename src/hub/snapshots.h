#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>

#include "base/fd.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/time.h"
#include "directory/directory.h"
#include "http/message.h"
#include "hub/access.h"

namespace roster::hub {

struct SnapshotOptions {
  /// Made when absent. Files in it lose their names at once, so that nothing is left behind.
  std::filesystem::path directory;
  Clock clock = system_now;
  RandomBytes random = system_random;
  /// Views that wait for their turn; more are answered 503.
  std::size_t queue_max = 16;
  /// Space of the file system that a snapshot never takes: the store needs it more.
  std::uint64_t disk_free_min = 128 << 20;
  std::size_t page_rows = 1'000;
};

/// `GET /api/organizations/{org}/feed/snapshot` (feed/FORMAT.md 3.3). A snapshot is rendered by one
/// thread, one at a time, once for all nodes that wait for it, into a compressed file, and served
/// until the delta after it is no longer small. Thread-safe.
class Snapshots {
 public:
  /// Wakes requests that are parked under `key`, as http::Server::notify.
  using Notify = std::function<void(const std::string& key, std::uint64_t value)>;

  /// Errors of making the directory.
  static Result<std::unique_ptr<Snapshots>> create(directory::Directory& directory,
                                                   Metrics& metrics, Notify notify,
                                                   SnapshotOptions options);
  ~Snapshots();
  Snapshots(const Snapshots&) = delete;
  Snapshots& operator=(const Snapshots&) = delete;

  http::Response serve(const http::Request& request, http::Context& context,
                       std::string_view org_slug);

  /// Lets go of the files of views that were removed: they hold disk space. From time to time.
  void forget_removed_views();

 private:
  using Key = std::pair<directory::OrgN, std::string>;  // organization, view

  struct File {
    std::shared_ptr<UniqueFd> fd;
    std::uint64_t size = 0;
    std::string etag;
    std::string cursor;
    std::string epoch;
    Seq head;
    std::uint64_t records = 0;
    bool shrink_ok = false;
  };
  using FilePtr = std::shared_ptr<const File>;

  struct Slot {
    FilePtr file;
    bool wanted = false;          // waits for its turn, or is being rendered
    std::uint64_t attempts = 0;   // finished, well or not: the value that parked requests wait for
    std::optional<Error> failed;  // the last attempt
  };

  Snapshots(directory::Directory& directory, Metrics& metrics, Notify notify,
            SnapshotOptions options);

  Result<std::variant<FilePtr, http::WaitBody>> find_or_order(const NodeAccess& access,
                                                              std::string_view if_match,
                                                              const http::Context& context);
  static http::Response send(const File& file, const http::Request& request);
  static bool is_fresh(const File& file, const NodeAccess& access, bool shrink_ok);
  void run(const std::stop_token& stop);
  Result<FilePtr> render(const std::stop_token& stop, const NodeAccess& access);
  Result<bool> shrink_confirmed(directory::OrgN org);
  Result<UniqueFd> open_nameless() const;
  void remove_leftovers() const;

  directory::Directory& directory_;
  Metrics& metrics_;
  const Notify notify_;
  const SnapshotOptions options_;

  std::mutex mutex_;  // guards all below but thread_
  std::condition_variable_any work_;
  std::map<Key, Slot> slots_;
  std::deque<NodeAccess> queue_;

  std::jthread thread_;  // last: stops first
};

}  // namespace roster::hub
