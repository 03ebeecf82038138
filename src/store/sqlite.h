#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "base/metrics.h"
#include "base/result.h"
#include "store/database.h"

namespace roster::store {

struct SqliteOptions {
  /// The database file, made 0600 when absent. Its directory, which must be on a local file system,
  /// also gets `LOCK` (held while open), `reserve` and SQLite's own `-wal` and `-shm`.
  std::filesystem::path path;
  /// Connections for reads; more reads than this wait up to `busy_timeout`.
  std::size_t readers_max = 8;
  std::chrono::milliseconds busy_timeout{5000};
  /// Of the writer and of each reader.
  std::int64_t page_cache_bytes = 16 << 20;
  std::size_t statements_max = 256;
  /// Writes that wait; more are refused.
  std::size_t queue_max = 1024;
  /// Writes that come within this time share a commit, at most 64 of them.
  std::chrono::milliseconds batch_time{5};
  /// Disk space set aside for Urgency::kRevocation; 0 for none.
  std::int64_t reserve_bytes = 16 << 20;
  /// The log is copied into the database whenever it has grown by this much ...
  std::int64_t checkpoint_bytes = 4 << 20;
  /// ... and started anew, holding up writes and waiting for reads for a moment, beyond this.
  std::int64_t wal_bytes_max = 64 << 20;
  /// How often trouble (a full disk) is looked at again.
  std::chrono::milliseconds mend_interval{250};
  /// Null: nothing is counted. Must outlive the database.
  Metrics* metrics = nullptr;
};

/// Opens or makes the embedded database. kFailedPrecondition when another process has it open or
/// the file system cannot hold it; kDataLoss when the file is not a database.
Result<std::unique_ptr<Database>> open_sqlite(const SqliteOptions& options);

}  // namespace roster::store
