#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "store/testing/engines.h"

namespace roster::store::testing {

/// A PostgreSQL server of the test program's own: Debian's package, data directory in memory, unix
/// socket only, running as the user `postgres` when we are root (the server refuses root).
class PostgresServer {
 public:
  /// The one of this program, started at the first call. kNotFound when the package is missing.
  /// The kernel stops it with the thread that started it: first call it from a test's own thread.
  static Result<PostgresServer*> shared();

  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  /// libpq's connection string to a database of this server.
  std::string url(const std::string& database) const;

  /// Makes and removes databases, as superuser.
  Result<void> command(const std::string& sql) const;

  /// Stops it without warning (SIGQUIT) and starts it again.
  Result<void> crash_and_restart();

 private:
  explicit PostgresServer(std::filesystem::path programs) : programs_(std::move(programs)) {}

  Result<void> initialize();
  Result<void> start();
  void stop(int signal);

  const std::filesystem::path programs_;
  TempDirectory directory_;
  pid_t owner_ = -1;
  pid_t pid_ = -1;
};

}  // namespace roster::store::testing
