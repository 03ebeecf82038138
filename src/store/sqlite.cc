#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <string>
#include <type_traits>
#include <utility>

#include "base/fd.h"
#include "base/file.h"
#include "store/engine_database.h"
#include "store/pool.h"
#include "store/reserve.h"
#include "store/sqlite_checkpointer.h"
#include "store/sqlite_connection.h"

namespace roster::store {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr Statement kBeginRead{"begin", "BEGIN"};
constexpr Statement kBeginWrite{"begin", "BEGIN IMMEDIATE"};
constexpr Statement kSavepoint{"savepoint", "SAVEPOINT one"};
constexpr Statement kReleaseSavepoint{"release savepoint", "RELEASE one"};
constexpr Statement kRollbackToSavepoint{"rollback to savepoint", "ROLLBACK TO one"};
constexpr Statement kCommit{"commit", "COMMIT"};
constexpr Statement kRollback{"rollback", "ROLLBACK"};
constexpr Statement kReadSchema{"check", "SELECT count(*) FROM sqlite_master"};

/// Less than this and a write may not get through.
constexpr std::uint64_t kFreeBytesMin = 1 << 20;

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

SqliteConnectionOptions connection_options(const SqliteOptions& options, bool query_only) {
  return {.path = options.path,
          .query_only = query_only,
          .busy_timeout = options.busy_timeout,
          .page_cache_bytes = options.page_cache_bytes,
          .wal_bytes_max = options.wal_bytes_max,
          .statements_max = options.statements_max};
}

/// The lock that keeps a second rosterd away. flock(2): gone with the process that held it.
Result<UniqueFd> take_lock(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return std::unexpected(errno_error("open " + path.string(), errno));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK) {
    return fail(Code::kFailedPrecondition, "another process has this database open (it holds " +
                                               path.string() + "); stop it first");
  }
  return std::unexpected(errno_error("lock " + path.string(), errno));
}

/// Makes the file before SQLite would, so that it is never readable by others; SQLite gives its
/// `-wal` and `-shm` the same mode.
Result<void> make_private_file(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return std::unexpected(errno_error("open " + path.string(), errno));
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) {
    return std::unexpected(errno_error("stat " + path.string(), errno));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(Code::kFailedPrecondition, path.string() + ": not a regular file");
  }
  if ((status.st_mode & 07777) != 0600 && ::fchmod(fd.get(), 0600) != 0) {
    return std::unexpected(errno_error("set the mode of " + path.string(), errno));
  }
  return status.st_size == 0 ? fsync_directory(directory_of(path)) : Result<void>();
}

/// Owns everything that must outlive the last write, the lock first of all.
class SqliteSession final : public WriteSession {
 public:
  SqliteSession(UniqueFd lock, Reserve reserve, std::unique_ptr<SqliteCheckpointer> checkpointer,
                std::unique_ptr<SqliteConnection> connection,
                std::chrono::milliseconds refill_interval)
      : refill_interval_(refill_interval),
        lock_(std::move(lock)),
        reserve_(std::move(reserve)),
        checkpointer_(std::move(checkpointer)),
        connection_(std::move(connection)) {
    checkpointer_->watch(*connection_);
  }

  EngineTx& tx() override { return *connection_; }

  Result<void> prepare(Urgency urgency) override {
    if (urgency == Urgency::kRevocation || reserve_.whole()) return {};
    if (SteadyClock::now() >= refill_after_) {
      if (reserve_.refill()) return {};
      refill_after_ = SteadyClock::now() + refill_interval_;
    }
    return fail(Code::kUnavailable,
                "the disk of the database is full: only changes that take access away are carried "
                "out, from a reserve, until there is room for the whole reserve again");
  }

  Result<void> begin() override {
    connection_->forget_trouble();
    return connection_->control(kBeginWrite);
  }
  Result<void> savepoint() override { return connection_->control(kSavepoint); }
  Result<void> release_savepoint() override { return connection_->control(kReleaseSavepoint); }
  Result<void> rollback_to_savepoint() override {
    RETURN_IF_ERROR(connection_->control(kRollbackToSavepoint));
    return connection_->control(kReleaseSavepoint);
  }
  Result<void> commit() override { return connection_->control(kCommit); }
  void rollback() override {
    if (!in_transaction()) return;
    const auto done = connection_->control(kRollback);
    CHECK(done || !in_transaction());  // whatever ROLLBACK meets, it ends the transaction
  }

  bool in_transaction() const override { return connection_->in_transaction(); }
  Trouble trouble() const override { return connection_->trouble(); }
  bool release_reserve() override { return reserve_.release_part(); }

 private:
  const std::chrono::milliseconds refill_interval_;
  UniqueFd lock_;
  Reserve reserve_;
  std::unique_ptr<SqliteCheckpointer> checkpointer_;
  std::unique_ptr<SqliteConnection> connection_;
  SteadyClock::time_point refill_after_{};
};

class SqliteDatabase final : public EngineDatabase {
 public:
  SqliteDatabase(std::unique_ptr<WriteSession> session, const WriterOptions& writer,
                 const SqliteOptions& options)
      : EngineDatabase(std::move(session), writer),
        directory_(directory_of(options.path)),
        readers_(options.readers_max, options.busy_timeout,
                 [reader = connection_options(options, /*query_only=*/true)] {
                   return SqliteConnection::open(reader);
                 }) {}

  Engine engine() const override { return Engine::kSqlite; }

  Result<void> check() override {
    RETURN_IF_ERROR(read_erased([](Tx& tx) -> Result<void> {
      return tx.query(kReadSchema, [](const Row&) -> Result<void> { return {}; });
    }));
    RETURN_IF_ERROR(writer().health());
    struct statvfs file_system;
    if (::statvfs(directory_.c_str(), &file_system) != 0) {
      return std::unexpected(errno_error("statvfs " + directory_.string(), errno));
    }
    if (file_system.f_bavail * file_system.f_frsize < kFreeBytesMin) {
      return fail(Code::kUnavailable, "the disk of the database is full: " + directory_.string());
    }
    return {};
  }

 protected:
  Result<void> read_erased(const std::function<Result<void>(Tx&)>& fn) override {
    ASSIGN_OR_RETURN(auto connection, readers_.acquire());
    RETURN_IF_ERROR(connection->control(kBeginRead));
    connection->renew();
    auto result = fn(*connection);
    if (result && connection->spent()) result = std::unexpected(*connection->spent());
    if (connection->in_transaction() && !connection->control(kRollback)) connection.drop();
    return result;
  }

 private:
  const std::filesystem::path directory_;
  Pool<SqliteConnection> readers_;
};

/// `open`, helped on a full disk by the reserve: the log and its index need some space to start.
template <typename Open>
auto open_from_reserve(Reserve& reserve, const Open& open) -> std::invoke_result_t<Open> {
  auto opened = open();
  while (!opened && opened.error().code == Code::kUnavailable && reserve.release_part()) {
    opened = open();
  }
  return opened;
}

/// Counting its memory takes a lock of the whole process for each piece, and nobody reads the
/// counts. Only before its first use.
void leave_memory_uncounted() {
  [[maybe_unused]] static const int done = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

}  // namespace

Result<std::unique_ptr<Database>> open_sqlite(const SqliteOptions& options) {
  leave_memory_uncounted();
  const std::filesystem::path directory = directory_of(options.path);
  ASSIGN_OR_RETURN(UniqueFd lock, take_lock(directory / "LOCK"));
  ASSIGN_OR_RETURN(Reserve reserve, Reserve::open(directory / "reserve", options.reserve_bytes));
  RETURN_IF_ERROR(make_private_file(options.path));
  const auto open = [writes = connection_options(options, /*query_only=*/false)] {
    return SqliteConnection::open(writes);
  };
  ASSIGN_OR_RETURN(auto connection, open_from_reserve(reserve, open));
  ASSIGN_OR_RETURN(auto checkpoints, open_from_reserve(reserve, open));
  auto checkpointer = std::make_unique<SqliteCheckpointer>(
      std::move(checkpoints), options.checkpoint_bytes, options.wal_bytes_max, options.metrics);
  auto session =
      std::make_unique<SqliteSession>(std::move(lock), std::move(reserve), std::move(checkpointer),
                                      std::move(connection), options.mend_interval);
  const WriterOptions writer{.queue_max = options.queue_max,
                             .batch_time = options.batch_time,
                             .mend_interval = options.mend_interval,
                             .metrics = options.metrics};
  return std::make_unique<SqliteDatabase>(std::move(session), writer, options);
}

}  // namespace roster::store
