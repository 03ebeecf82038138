#include "store/sqlite.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

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
