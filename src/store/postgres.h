#pragma once

#include <chrono>
#include <cstddef>
#include <memory>

#include "base/metrics.h"
#include "base/result.h"
#include "base/secret.h"
#include "store/database.h"

namespace roster::store {

struct PostgresOptions {
  /// libpq's connection string or URL
  /// ("postgresql://roster@db.example.org/roster?sslmode=verify-full"); what it leaves out comes
  /// from libpq's environment, password file included.
  Secret url;
  /// Connections for reads; more reads than this wait up to `wait_max`.
  std::size_t readers_max = 8;
  std::chrono::milliseconds wait_max{5000};
  /// A statement, or a lock it waits for, that takes longer is given up.
  std::chrono::milliseconds statement_timeout{30'000};
  std::chrono::milliseconds lock_timeout{5000};
  /// How long to wait at the start for the lock of a predecessor that was just killed.
  std::chrono::milliseconds takeover_wait{3000};
  std::size_t statements_max = 256;
  /// Writes that wait; more are refused.
  std::size_t queue_max = 1024;
  /// Writes that come within this time share a commit, at most 64 of them.
  std::chrono::milliseconds batch_time{5};
  /// After a lost connection: first pause before it is made anew, doubled up to 64 times that.
  std::chrono::milliseconds reconnect_interval{50};
  /// Null: nothing is counted. Must outlive the database.
  Metrics* metrics = nullptr;
};

/// Opens a database of a PostgreSQL server (12 or newer, encoding UTF8). kFailedPrecondition when
/// another rosterd writes to it; kUnavailable when the server does not answer. Writers keep each
/// other out by a session's advisory lock, so a pooler in between must not share sessions.
Result<std::unique_ptr<Database>> open_postgres(const PostgresOptions& options);

}  // namespace roster::store
