#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "base/metrics.h"
#include "store/sqlite_connection.h"

namespace roster::store {

/// Copies the write-ahead log into the database on a thread and connection of its own, so that no
/// write pays for it. The log file is kept and used again: its space is there when the disk is
/// full.
class SqliteCheckpointer {
 public:
  /// Sizes in bytes, see SqliteOptions. `metrics` may be null.
  SqliteCheckpointer(std::unique_ptr<SqliteConnection> connection, std::int64_t checkpoint_bytes,
                     std::int64_t wal_bytes_max, Metrics* metrics);
  ~SqliteCheckpointer();
  SqliteCheckpointer(const SqliteCheckpointer&) = delete;
  SqliteCheckpointer& operator=(const SqliteCheckpointer&) = delete;

  /// Has `writer` tell this checkpointer the size of the log after each commit.
  void watch(SqliteConnection& writer);

 private:
  void run();
  void log_grew(int frames);
  void checkpoint(int frames);

  const std::int64_t checkpoint_frames_;
  const std::int64_t frames_max_;
  const std::unique_ptr<Metrics::Gauge> wal_bytes_;

  // Of the checkpointer's thread.
  std::unique_ptr<SqliteConnection> connection_;

  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  bool stopping_ = false;
  int frames_ = 0;               // in the log at the latest commit
  int frames_checkpointed_ = 0;  // in the log at the latest checkpoint

  std::thread thread_;
};

}  // namespace roster::store
