#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/database.h"

namespace roster::store::testing {

/// A directory of its own in memory (/dev/shm where there is one), removed with all it holds.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Bounds a test wants otherwise than the defaults.
struct DatabaseOptions {
  std::size_t queue_max = 1024;
  std::chrono::milliseconds batch_time{5};
  std::size_t readers_max = 8;
  std::size_t statements_max = 256;
};

/// A fresh database of one engine, removed afterwards. SQLite: a file in memory. PostgreSQL: a
/// database on a real server that is started when first needed and lives as long as the test
/// program. Ends the program when it cannot be had; ask engine_available() before.
class TestDatabase {
 public:
  explicit TestDatabase(Engine engine, const DatabaseOptions& options = {});
  ~TestDatabase();
  TestDatabase(const TestDatabase&) = delete;
  TestDatabase& operator=(const TestDatabase&) = delete;

  Database& operator*() const { return *database_; }
  Database* operator->() const { return database_.get(); }

  /// Opens the same data once more, as another process would.
  Result<std::unique_ptr<Database>> open_again() const;
  /// Closes, so that another process can open it.
  void close() { database_.reset(); }
  /// Closes and opens: what is there afterwards was stored.
  void reopen();

 private:
  const Engine engine_;
  const DatabaseOptions options_;
  TempDirectory directory_;  // SQLite's
  std::string name_;         // PostgreSQL's
  std::unique_ptr<Database> database_;
};

/// Empty when tests can use this engine here, else the reason why they are skipped.
std::string engine_unavailable(Engine engine);

std::string engine_name(const ::testing::TestParamInfo<Engine>& info);

/// Base of suites that run on both engines:
///   class StoreTest : public BothEngines {};
///   ROSTER_BOTH_ENGINES(StoreTest);
///   TEST_P(StoreTest, Story) { TestDatabase database(GetParam()); ... }
class BothEngines : public ::testing::TestWithParam<Engine> {
 protected:
  void SetUp() override;
};

#define ROSTER_BOTH_ENGINES(Suite)                                                             \
  INSTANTIATE_TEST_SUITE_P(                                                                    \
      , Suite,                                                                                 \
      ::testing::Values(::roster::store::Engine::kSqlite, ::roster::store::Engine::kPostgres), \
      ::roster::store::testing::engine_name)

/// SQLite's EXPLAIN QUERY PLAN, one line a step, such as "SEARCH user USING INDEX user_key
/// (org=?)". A test of named statements fails on "SCAN" and "USE TEMP B-TREE". kUnsupported on
/// PostgreSQL.
Result<std::vector<std::string>> explain(Database& database, const Statement& s);

}  // namespace roster::store::testing
