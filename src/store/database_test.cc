#include "store/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "store/testing/engines.h"

namespace roster::store {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr Migration kSchema[] = {
    {1, "items",
     "CREATE TABLE item (n INTEGER PRIMARY KEY, a TEXT, b TEXT, i INTEGER, x BLOB, UNIQUE (a, b)) "
     "STRICT;"
     "CREATE TABLE part (n INTEGER PRIMARY KEY, item_n INTEGER NOT NULL REFERENCES item (n)) "
     "STRICT",
     "CREATE TABLE item (n bigint PRIMARY KEY, a text COLLATE \"C\", b text COLLATE \"C\", i "
     "bigint,"
     " x bytea, UNIQUE (a, b));"
     "CREATE TABLE part (n bigint PRIMARY KEY, item_n bigint NOT NULL REFERENCES item (n))"},
};

constexpr Statement kInsert{"insert item",
                            "INSERT INTO item (n, a, b, i, x) VALUES ($1, $2, $3, $4, $5)"};
constexpr Statement kInsertText{"insert text", "INSERT INTO item (n, a) VALUES ($1, $2)"};
constexpr Statement kInsertPart{"insert part", "INSERT INTO part (n, item_n) VALUES ($1, $2)"};
constexpr Statement kSelect{"select item", "SELECT n, a, b, i, x FROM item WHERE n = $1"};
constexpr Statement kCount{"count items", "SELECT count(*) FROM item"};
constexpr Statement kAll{"all items", "SELECT n FROM item ORDER BY n"};

Result<void> insert_text(Tx& tx, std::int64_t n, std::string_view a) {
  if (auto done = tx.execute(kInsertText, n, a); !done) return std::unexpected(done.error());
  return {};
}

Result<std::int64_t> count(Tx& tx) {
  ASSIGN_OR_RETURN(const auto found,
                   tx.query_one(kCount, [](const Row& row) { return row.integer(0); }));
  return found.value_or(-1);
}

class DatabaseTest : public testing::BothEngines {
 protected:
  void open(const testing::DatabaseOptions& options = {}) {
    database_ = std::make_unique<testing::TestDatabase>(GetParam(), options);
    const auto migrated = migrate(db(), kSchema);
    ASSERT_TRUE(migrated) << migrated.error().message;
  }
  Database& db() { return **database_; }

  std::unique_ptr<testing::TestDatabase> database_;
};
ROSTER_BOTH_ENGINES(DatabaseTest);

TEST_P(DatabaseTest, ValuesComeBackAsTheyWereStored) {
  open();
  struct Case {
    std::optional<std::string> text;
    std::optional<std::int64_t> integer;
    std::optional<std::string> blob;
  };
  const std::vector<Case> cases = {
      {"", 0, ""},
      {"ünïcode 漢字 🙂", std::numeric_limits<std::int64_t>::max(), std::string("\0\1\xff", 3)},
      {"quote ' $1 ?1 \\ \n", std::numeric_limits<std::int64_t>::min(), std::string(100'000, '\0')},
      {std::nullopt, std::nullopt, std::nullopt},
      {"plain", -1, std::string(1 << 20, 'x')},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    const auto wrote = db().write([&c, i](Tx& tx) {
      std::optional<BlobView> blob;
      if (c.blob) blob = BlobView{*c.blob};
      return tx.execute(kInsert, i, c.text, nullptr, c.integer, blob);
    });
    ASSERT_TRUE(wrote) << wrote.error().message;
    EXPECT_EQ(*wrote, 1);
  }
  database_->reopen();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto read = db().read([i](Tx& tx) {
      return tx.query_one(
          kSelect,
          [](const Row& row) {
            return Case{row.text_or_null(1), row.integer_or_null(3),
                        row.is_null(4) ? std::nullopt : std::optional(std::string(row.blob(4)))};
          },
          i);
    });
    ASSERT_TRUE(read && *read) << i;
    EXPECT_EQ((*read)->text, cases[i].text);
    EXPECT_EQ((*read)->integer, cases[i].integer);
    EXPECT_EQ((*read)->blob, cases[i].blob);
  }
}

// SQLite by itself would number $-parameters in the order in which they appear.
TEST_P(DatabaseTest, ParametersBindByNumberWhateverTheirOrder) {
  open();
  static constexpr Statement kUpdate{
      "update item", "UPDATE item SET b = $3, a = $2, i = $4 WHERE n = $1 AND $4 = $4"};
  const auto got = db().write([](Tx& tx) -> Result<std::string> {
    RETURN_IF_ERROR(insert_text(tx, 7, "old"));
    ASSIGN_OR_RETURN(const auto changed, tx.execute(kUpdate, 7, "second", "third", 44));
    EXPECT_EQ(changed, 1);
    ASSIGN_OR_RETURN(const auto row, tx.query_one(
                                         kSelect,
                                         [](const Row& r) {
                                           return std::string(r.text(1)) + "," +
                                                  std::string(r.text(2)) + "," +
                                                  std::to_string(r.integer(3));
                                         },
                                         7));
    return row.value_or("none");
  });
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(*got, "second,third,44");
}

TEST_P(DatabaseTest, TextThatOneEngineCannotStoreIsRefusedByBoth) {
  open();
  for (const std::string_view bad :
       {std::string_view("a\0b", 3), std::string_view("\xff"), std::string_view("\xed\xa0\x80")}) {
    const auto wrote = db().write([bad](Tx& tx) { return insert_text(tx, 1, bad); });
    ASSERT_FALSE(wrote);
    EXPECT_EQ(wrote.error().code, Code::kInvalidArgument);
    EXPECT_THAT(wrote.error().message, HasSubstr("$2"));
  }
}

TEST_P(DatabaseTest, ErrorsNameConstraintsButNoValues) {
  open();
  const auto seeded = db().write(
      [](Tx& tx) { return tx.execute(kInsert, 1, "secret-a", "secret-b", nullptr, nullptr); });
  ASSERT_TRUE(seeded);
  const auto clash = db().write(
      [](Tx& tx) { return tx.execute(kInsert, 2, "secret-a", "secret-b", nullptr, nullptr); });
  ASSERT_FALSE(clash);
  EXPECT_EQ(clash.error().code, Code::kAlreadyExists);
  EXPECT_EQ(clash.error().message, "insert item: taken: item(a, b)");

  const auto key = db().write(
      [](Tx& tx) { return tx.execute(kInsert, 1, "secret-c", "secret-d", nullptr, nullptr); });
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, Code::kAlreadyExists);
  EXPECT_EQ(key.error().message, "insert item: taken: item(n)");

  const auto orphan = db().write([](Tx& tx) { return tx.execute(kInsertPart, 1, 987654); });
  ASSERT_FALSE(orphan);
  EXPECT_EQ(orphan.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(orphan.error().message, Not(HasSubstr("987654")));

  const auto null = db().write([](Tx& tx) { return tx.execute(kInsertPart, 987654, nullptr); });
  ASSERT_FALSE(null);
  EXPECT_EQ(null.error().code, Code::kInternal);
  EXPECT_THAT(null.error().message, Not(HasSubstr("987654")));
}

TEST_P(DatabaseTest, ExecuteCountsChangedRows) {
  open();
  const auto done = db().write([](Tx& tx) -> Result<void> {
    for (int n = 0; n < 5; ++n) RETURN_IF_ERROR(insert_text(tx, n, std::to_string(n)));
    struct Case {
      Statement statement;
      std::int64_t changed;
    };
    const Case cases[] = {
        {{"some", "UPDATE item SET i = 1 WHERE n < 3"}, 3},
        {{"none", "UPDATE item SET i = 1 WHERE n > 300"}, 0},
        {{"query", "SELECT n FROM item"}, 0},
        {{"clash", "INSERT INTO item (n) VALUES (1) ON CONFLICT DO NOTHING"}, 0},
        {{"returning", "UPDATE item SET i = 2 WHERE n < 2 RETURNING n"}, 2},
        {{"delete", "DELETE FROM item"}, 5},
        {{"ddl", "CREATE INDEX item_i ON item (i)"}, 0},
    };
    for (const Case& c : cases) {
      ASSIGN_OR_RETURN(const auto changed, tx.execute(c.statement));
      EXPECT_EQ(changed, c.changed) << c.statement.name;
    }
    return {};
  });
  ASSERT_TRUE(done) << done.error().message;
}

TEST_P(DatabaseTest, AnErrorOfTheCallbackEndsTheQueryAndNotTheTransaction) {
  open();
  const auto done = db().write([](Tx& tx) -> Result<std::int64_t> {
    for (int n = 0; n < 5; ++n) RETURN_IF_ERROR(insert_text(tx, n, std::to_string(n)));
    int rows = 0;
    const auto stopped = tx.query(kAll, [&rows](const Row&) -> Result<void> {
      if (++rows == 2) return fail(Code::kTooLarge, "enough");
      return {};
    });
    EXPECT_EQ(rows, 2);
    EXPECT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, Code::kTooLarge);
    return count(tx);
  });
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(*done, 5);
}

// The same statement is already being stepped when it is asked for again.
TEST_P(DatabaseTest, QueriesNestAlsoOfTheSameStatement) {
  open();
  const auto done = db().write([](Tx& tx) -> Result<std::vector<std::int64_t>> {
    for (int n = 0; n < 3; ++n) RETURN_IF_ERROR(insert_text(tx, n, std::to_string(n)));
    std::vector<std::int64_t> seen;
    RETURN_IF_ERROR(tx.query(kAll, [&tx, &seen](const Row& outer) -> Result<void> {
      return tx.query(kAll, [&seen, n = outer.integer(0)](const Row& inner) -> Result<void> {
        seen.push_back(10 * n + inner.integer(0));
        return {};
      });
    }));
    return seen;
  });
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(*done, (std::vector<std::int64_t>{0, 1, 2, 10, 11, 12, 20, 21, 22}));
}

TEST_P(DatabaseTest, AReaderSeesOneSnapshot) {
  open();
  const auto seen = db().read([this](Tx& tx) -> Result<std::pair<std::int64_t, std::int64_t>> {
    ASSIGN_OR_RETURN(const auto before, count(tx));
    const auto wrote = db().write([](Tx& w) { return insert_text(w, 1, "meanwhile"); });
    EXPECT_TRUE(wrote);
    ASSIGN_OR_RETURN(const auto after, count(tx));
    return std::pair(before, after);
  });
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_EQ(*seen, (std::pair<std::int64_t, std::int64_t>(0, 0)));
  EXPECT_EQ(db().read(count).value(), 1);  // what was acknowledged is seen by the next read
}

TEST_P(DatabaseTest, AReadCannotWrite) {
  open();
  const auto wrote = db().read([](Tx& tx) { return insert_text(tx, 1, "x"); });
  EXPECT_FALSE(wrote);
  EXPECT_EQ(db().read(count).value(), 0);
}

TEST_P(DatabaseTest, ReadersBeyondTheBoundWaitForTheirTurn) {
  open({.readers_max = 2});
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, &good] {
      for (int i = 0; i < 50; ++i) good += db().read(count).has_value() ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 400);
}

TEST_P(DatabaseTest, ManyStatementsPassThroughASmallCache) {
  open({.statements_max = 4});
  const auto done = db().write([](Tx& tx) -> Result<void> {
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 20; ++i) {
        const std::string sql = "SELECT " + std::to_string(i) + " + $1";
        ASSIGN_OR_RETURN(
            const auto sum,
            tx.query_one(Statement{"sum", sql}, [](const Row& r) { return r.integer(0); }, 1000));
        EXPECT_EQ(sum, 1000 + i);
      }
    }
    return {};
  });
  ASSERT_TRUE(done) << done.error().message;
  if (GetParam() != Engine::kPostgres) return;
  constexpr Statement kPrepared{"prepared", "SELECT count(*) FROM pg_prepared_statements"};
  const auto prepared = db().write([kPrepared](Tx& tx) {
    return tx.query_one(kPrepared, [](const Row& row) { return row.integer(0); });
  });
  ASSERT_TRUE(prepared && *prepared);
  EXPECT_LE(**prepared, 5);
}

TEST_P(DatabaseTest, OneWriterAtATime) {
  open();
  const auto second = database_->open_again();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(second.error().message, HasSubstr("stop it first"));
  EXPECT_TRUE(db().write([](Tx& tx) { return insert_text(tx, 1, "x"); }));
}

TEST_P(DatabaseTest, CheckIsGoodOnAHealthyDatabase) {
  open();
  const auto good = db().check();
  EXPECT_TRUE(good) << good.error().message;
}

TEST_P(DatabaseTest, WrongSqlIsAnErrorWithTheStatementsName) {
  open();
  constexpr Statement kWrong{"wrong one", "SELEKT 1"};
  const auto wrong = db().read([kWrong](Tx& tx) { return tx.execute(kWrong); });
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kInternal);
  EXPECT_THAT(wrong.error().message, HasSubstr("wrong one"));
}

}  // namespace
}  // namespace roster::store
