#include "store/postgres.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "store/testing/engines.h"
#include "store/testing/postgres_server.h"

namespace roster::store {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr Migration kSchema[] = {{1, "rows", "", "CREATE TABLE r (n bigint PRIMARY KEY)"}};
constexpr Statement kInsert{"insert", "INSERT INTO r (n) VALUES ($1)"};
constexpr Statement kCount{"count", "SELECT count(*) FROM r"};

Result<std::int64_t> count(Tx& tx) {
  ASSIGN_OR_RETURN(const auto found,
                   tx.query_one(kCount, [](const Row& row) { return row.integer(0); }));
  return found.value_or(-1);
}

class PostgresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = testing::engine_unavailable(Engine::kPostgres); !reason.empty()) {
      GTEST_SKIP() << reason;
    }
  }
};

TEST_F(PostgresTest, ErrorsNeverHoldThePassword) {
  for (const char* url : {
           "postgresql://roster:hunter2@127.0.0.1:1/roster",
           "postgresql://roster:hunter2 x@127.0.0.1:1/roster",
           "postgresql://roster:hunter2%00@127.0.0.1:1/roster",
           "host=127.0.0.1 port=1 password=hunter2",
           "host=127.0.0.1 password='hunter2",
           "password hunter2",
           "host=hunter2.invalid port=1 password=hunter2",
       }) {
    const auto opened = open_postgres({.url = Secret(url)});
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message, Not(HasSubstr("hunter2"))) << url;
  }
}

TEST_F(PostgresTest, AServerRestartIsLivedThrough) {
  testing::TestDatabase database(Engine::kPostgres);
  ASSERT_TRUE(migrate(*database, kSchema));
  ASSERT_TRUE(database->write([](Tx& tx) { return tx.execute(kInsert, 1); }));
  ASSERT_EQ(database->read(count).value(), 1);
  for (int round = 2; round < 4; ++round) {
    const auto restarted = testing::PostgresServer::shared().value()->crash_and_restart();
    ASSERT_TRUE(restarted) << restarted.error().message;
    const auto rows = database->read(count);
    ASSERT_TRUE(rows) << rows.error().message;
    EXPECT_EQ(*rows, round - 1);
    const auto wrote = database->write([round](Tx& tx) { return tx.execute(kInsert, round); });
    EXPECT_TRUE(wrote) << wrote.error().message;
    EXPECT_TRUE(database->check());
  }
}

TEST_F(PostgresTest, TheConnectionComesBackByItself) {
  testing::TestDatabase database(Engine::kPostgres);
  ASSERT_TRUE(migrate(*database, kSchema));
  constexpr Statement kTerminate{"terminate", "SELECT pg_terminate_backend(pg_backend_pid())::int"};
  const auto lost = database->write([kTerminate](Tx& tx) { return tx.execute(kTerminate); });
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::kUnavailable);
  // No write comes; the writer mends the connection all the same.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  Result<void> good = database->check();
  while (!good && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    good = database->check();
  }
  EXPECT_TRUE(good) << good.error().message;
}

// A lock held by somebody else's session: the write fails, in bounded time, and is done the next
// time.
TEST_F(PostgresTest, ForeignLocksDoNotHangTheWriter) {
  const auto server = testing::PostgresServer::shared();
  ASSERT_TRUE(server);
  ASSERT_TRUE((*server)->command("CREATE DATABASE locks TEMPLATE template0"));
  {
    auto database = open_postgres(
        {.url = Secret((*server)->url("locks")), .lock_timeout = std::chrono::milliseconds(50)});
    ASSERT_TRUE(database);
    ASSERT_TRUE(migrate(**database, kSchema));
    constexpr Statement kLock{"lock", "LOCK TABLE r IN ACCESS SHARE MODE"};
    constexpr Statement kAlter{"alter", "ALTER TABLE r ADD COLUMN b bigint"};
    const auto blocked = (*database)->read([&database, kLock, kAlter](Tx& tx) -> Result<void> {
      if (auto locked = tx.execute(kLock); !locked) return std::unexpected(locked.error());
      const auto altered = (*database)->write([kAlter](Tx& w) { return w.execute(kAlter); });
      EXPECT_FALSE(altered);
      EXPECT_EQ(altered.error().code, Code::kUnavailable) << altered.error().message;
      return {};
    });
    ASSERT_TRUE(blocked) << blocked.error().message;
    EXPECT_TRUE((*database)->write([kAlter](Tx& w) { return w.execute(kAlter); }));
  }
  EXPECT_TRUE((*server)->command("DROP DATABASE locks WITH (FORCE)"));
}

}  // namespace
}  // namespace roster::store
