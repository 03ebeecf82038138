#include "store/sqlite.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "base/file.h"
#include "store/testing/engines.h"

namespace roster::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Migration kSchema[] = {
    {1, "rows",
     "CREATE TABLE r (n INTEGER PRIMARY KEY, name TEXT, x TEXT) STRICT;"
     "CREATE INDEX r_name ON r (name)",
     ""},
};

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

TEST(Sqlite, FilesAreTheOwnersAlone) {
  testing::TempDirectory directory;
  const auto path = directory.path() / "roster.db";
  // Also a file that came with a wider mode, out of a careless restore.
  std::ofstream(path).close();
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  auto database = open_sqlite({.path = path, .reserve_bytes = 1 << 16});
  ASSERT_TRUE(database) << database.error().message;
  ASSERT_TRUE(migrate(**database, kSchema));
  for (const char* name : {"roster.db", "roster.db-wal", "roster.db-shm", "LOCK", "reserve"}) {
    EXPECT_EQ(mode_of(directory.path() / name), 0600u) << name;
  }
}

TEST(Sqlite, AFileThatIsNoDatabaseIsDataLoss) {
  testing::TempDirectory directory;
  const auto path = directory.path() / "roster.db";
  std::ofstream(path) << std::string(8192, 'x');
  const auto database = open_sqlite({.path = path});
  ASSERT_FALSE(database);
  EXPECT_EQ(database.error().code, Code::kDataLoss);
  EXPECT_THAT(database.error().message, HasSubstr("roster.db"));
}

TEST(Sqlite, AMissingDirectoryIsNamed) {
  const auto database = open_sqlite({.path = "/nonexistent/roster.db"});
  ASSERT_FALSE(database);
  EXPECT_EQ(database.error().code, Code::kNotFound);
  EXPECT_THAT(database.error().message, HasSubstr("/nonexistent"));
}

TEST(Sqlite, ASymbolicLinkInPlaceOfTheFileIsRefused) {
  testing::TempDirectory directory;
  std::ofstream(directory.path() / "target").close();
  std::filesystem::create_symlink("target", directory.path() / "roster.db");
  EXPECT_FALSE(open_sqlite({.path = directory.path() / "roster.db"}));
}

TEST(Sqlite, ConnectionsHaveTheirSafetySettings) {
  testing::TestDatabase database(Engine::kSqlite);
  struct Case {
    const char* sql;
    std::int64_t value;
  };
  const Case cases[] = {
      {"PRAGMA synchronous", 2},     {"PRAGMA foreign_keys", 1},       {"PRAGMA trusted_schema", 0},
      {"PRAGMA cell_size_check", 1}, {"PRAGMA wal_autocheckpoint", 0},
  };
  for (const Case& c : cases) {
    const auto check = [&c](Tx& tx) {
      return tx.query_one(Statement{"pragma", c.sql}, [](const Row& r) { return r.integer(0); });
    };
    EXPECT_EQ(database->read(check).value(), c.value) << c.sql;
    EXPECT_EQ(database->write(check).value(), c.value) << c.sql;
  }
}

TEST(Sqlite, PlansAreTold) {
  testing::TestDatabase database(Engine::kSqlite);
  ASSERT_TRUE(migrate(*database, kSchema));
  const auto found = testing::explain(*database, {"by name", "SELECT n FROM r WHERE name = $1"});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_THAT(*found, ElementsAre("SEARCH r USING COVERING INDEX r_name (name=?)"));
  const auto scan =
      testing::explain(*database, {"by x", "SELECT n FROM r WHERE x = $1 ORDER BY x"});
  ASSERT_TRUE(scan);
  EXPECT_THAT(scan->front(), HasSubstr("SCAN r"));
  const auto write = testing::explain(*database, {"touch", "UPDATE r SET x = $2 WHERE n = $1"});
  ASSERT_TRUE(write);
  EXPECT_THAT(write->front(), HasSubstr("SEARCH r USING INTEGER PRIMARY KEY"));
}

// Without a checkpoint that starts the log anew it would grow with every write, to 40 MB here.
TEST(Sqlite, TheLogStaysBounded) {
  testing::TempDirectory directory;
  const auto path = directory.path() / "roster.db";
  auto database = open_sqlite(
      {.path = path, .reserve_bytes = 0, .checkpoint_bytes = 256 << 10, .wal_bytes_max = 1 << 20});
  ASSERT_TRUE(database);
  ASSERT_TRUE(migrate(**database, kSchema));
  const std::string filler(16'000, 'x');
  std::uintmax_t largest = 0;
  for (int i = 0; i < 2'000; ++i) {
    const std::string name = filler + std::to_string(i);
    const auto wrote = (*database)->write([i, &name](Tx& tx) {
      constexpr Statement kReplace{"replace",
                                   "INSERT INTO r (n, x) VALUES ($1, $2) "
                                   "ON CONFLICT (n) DO UPDATE SET x = excluded.x"};
      return tx.execute(kReplace, i % 50, name);
    });
    ASSERT_TRUE(wrote) << wrote.error().message;
    largest = std::max(largest, std::filesystem::file_size(path.string() + "-wal"));
  }
  EXPECT_LT(largest, 12u << 20);
}

constexpr Statement kInsert{"insert", "INSERT INTO r (n, x) VALUES ($1, $2)"};
constexpr Statement kCount{"count", "SELECT count(*) FROM r"};

Result<std::int64_t> insert(Database& database, std::int64_t n, const std::string& x) {
  return database.write([n, &x](Tx& tx) { return tx.execute(kInsert, n, x); });
}
std::int64_t count(Database& database) {
  const auto found = database.read(
      [](Tx& tx) { return tx.query_one(kCount, [](const Row& row) { return row.integer(0); }); });
  return found && *found ? **found : -1;
}

/// No file may grow beyond `bytes` (EFBIG): to SQLite an I/O error that is not a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit now = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  struct rlimit before_ = {};
};

TEST(Sqlite, AnIoErrorFailsTheWriteAndNothingElse) {
  testing::TestDatabase database(Engine::kSqlite);
  ASSERT_TRUE(migrate(*database, kSchema));
  const std::string small(100, 's');
  const std::string large(2 << 20, 'l');
  ASSERT_TRUE(insert(*database, 1, small));
  for (int round = 0; round < 3; ++round) {
    {
      const FileSizeLimit limit(1 << 20);
      const auto failed = insert(*database, 100, large);
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code, Code::kUnavailable) << failed.error().message;
      EXPECT_THAT(failed.error().message, HasSubstr("I/O"));
      EXPECT_TRUE(insert(*database, 10 + round, small));  // fits: others go on
    }
    EXPECT_EQ(count(*database), 2 + round);
  }
  database.reopen();
  EXPECT_EQ(count(*database), 4);
  EXPECT_TRUE(insert(*database, 100, large));
}

// An operator's sqlite3 shell that forgot a transaction: writes fail after the bound, then go on.
TEST(Sqlite, AForeignWriterIsWaitedForInBoundedTime) {
  testing::TempDirectory directory;
  const auto path = directory.path() / "roster.db";
  auto database = open_sqlite(
      {.path = path, .busy_timeout = std::chrono::milliseconds(20), .reserve_bytes = 0});
  ASSERT_TRUE(database);
  ASSERT_TRUE(migrate(**database, kSchema));
  sqlite3* shell = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &shell), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(shell, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const auto busy = insert(**database, 1, "x");
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, Code::kUnavailable);
  EXPECT_EQ(count(**database), 0);
  ASSERT_EQ(sqlite3_exec(shell, "ROLLBACK", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_TRUE(insert(**database, 1, "x"));
  sqlite3_close(shell);
}

// A checkpoint that waited for a reader with the writer's lock in hand would stop all writes.
TEST(Sqlite, AnOverlongReadDoesNotStopWrites) {
  testing::TempDirectory directory;
  auto database = open_sqlite({.path = directory.path() / "roster.db",
                               .reserve_bytes = 0,
                               .checkpoint_bytes = 64 << 10,
                               .wal_bytes_max = 64 << 10});
  ASSERT_TRUE(database);
  ASSERT_TRUE(migrate(**database, kSchema));
  const std::string x(8000, 'x');
  const auto held = (*database)->read([&database, &x](Tx& tx) -> Result<void> {
    RETURN_IF_ERROR(tx.query(kCount, [](const Row&) -> Result<void> { return {}; }));
    for (int n = 0; n < 50; ++n) {
      const auto start = std::chrono::steady_clock::now();
      EXPECT_TRUE(insert(**database, n, x));
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
    }
    return {};
  });
  EXPECT_TRUE(held);
  EXPECT_EQ(count(**database), 50);
}

TEST(Sqlite, CommitsAreCounted) {
  testing::TempDirectory directory;
  Metrics metrics;
  auto database = open_sqlite(
      {.path = directory.path() / "roster.db", .reserve_bytes = 0, .metrics = &metrics});
  ASSERT_TRUE(database);
  ASSERT_TRUE(migrate(**database, kSchema));
  const std::string text = metrics.render();
  EXPECT_THAT(text, HasSubstr("roster_store_commits_total 2"));
  EXPECT_THAT(text, HasSubstr("roster_store_batch_writes_count 2"));
  EXPECT_THAT(text, HasSubstr("roster_store_wal_bytes"));
}

}  // namespace
}  // namespace roster::store
