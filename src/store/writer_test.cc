#include "store/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <list>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "store/engine_database.h"
#include "store/testing/engines.h"

namespace roster::store {
namespace {

using ::testing::HasSubstr;

constexpr Migration kSchema[] = {
    {1, "rows",
     "CREATE TABLE r (n INTEGER PRIMARY KEY) STRICT;"
     "CREATE TABLE late (n INTEGER REFERENCES r (n) DEFERRABLE INITIALLY DEFERRED) STRICT;"
     "CREATE TABLE counter (value INTEGER NOT NULL) STRICT; INSERT INTO counter VALUES (0)",
     "CREATE TABLE r (n bigint PRIMARY KEY);"
     "CREATE TABLE late (n bigint REFERENCES r (n) DEFERRABLE INITIALLY DEFERRED);"
     "CREATE TABLE counter (value bigint NOT NULL); INSERT INTO counter VALUES (0)"},
};
constexpr Statement kInsert{"insert", "INSERT INTO r (n) VALUES ($1)"};
constexpr Statement kInsertLate{"insert late", "INSERT INTO late (n) VALUES ($1)"};
constexpr Statement kAll{"all", "SELECT n FROM r ORDER BY n"};
constexpr Statement kIncrement{"increment", "UPDATE counter SET value = value + 1"};
constexpr Statement kCounter{"counter", "SELECT value FROM counter"};

Result<void> done(Result<std::int64_t> result) {
  if (!result) return std::unexpected(std::move(result).error());
  return {};
}

Result<void> insert(Tx& tx, std::int64_t n) { return done(tx.execute(kInsert, n)); }

Result<std::vector<std::int64_t>> all(Tx& tx) {
  std::vector<std::int64_t> found;
  RETURN_IF_ERROR(tx.query(kAll, [&found](const Row& row) -> Result<void> {
    found.push_back(row.integer(0));
    return {};
  }));
  return found;
}

using Numbers = std::vector<std::int64_t>;

class WriterTest : public testing::BothEngines {
 protected:
  // Without a bound in time, so that a slow machine does not divide a batch in two.
  void open(const testing::DatabaseOptions& options = {.batch_time = std::chrono::minutes(1)}) {
    database_ = std::make_unique<testing::TestDatabase>(GetParam(), options);
    const auto migrated = migrate(db(), kSchema);
    ASSERT_TRUE(migrated) << migrated.error().message;
  }
  Database& db() { return **database_; }
  Writer& writer() { return static_cast<EngineDatabase&>(db()).writer(); }
  Numbers rows() { return db().read(all).value(); }

  using Fn = std::function<Result<void>(Tx&)>;

  /// Runs the closures in this order, as one batch: the writer is kept busy until all are queued.
  std::vector<Result<void>> write_together(const std::vector<Fn>& closures) {
    std::promise<void> started;
    std::promise<void> go;
    auto blocker = std::async(std::launch::async, [this, &started, &go] {
      bool first = true;  // may run a second time, when a neighbour ends the transaction
      return db().write([&started, &go, &first](Tx&) -> Result<void> {
        if (!first) return {};
        first = false;
        started.set_value();
        go.get_future().wait();
        return {};
      });
    });
    started.get_future().wait();
    std::list<std::future<Result<void>>> answers;
    for (const Fn& fn : closures) {
      answers.push_back(std::async(std::launch::async, [this, &fn] { return db().write(fn); }));
      while (writer().queued() < answers.size()) std::this_thread::yield();
    }
    go.set_value();
    blocker.wait();
    std::vector<Result<void>> results;
    for (auto& answer : answers) results.push_back(answer.get());
    return results;
  }

  /// Hooks that count: `buffered_` holds what the closures noted and was not truncated.
  void count_with_hooks() {
    db().set_batch_hooks({
        .mark = [this] { return buffered_.size(); },
        .truncate = [this](std::size_t mark) { buffered_.resize(mark); },
        .finish = [this](Tx& tx) -> Result<void> {
          if (finish_) RETURN_IF_ERROR(finish_(tx));
          batches_.push_back(buffered_);
          return {};
        },
        .committed =
            [this] {
              ++commits_;
              buffered_.clear();
            },
    });
  }
  Fn noting(std::int64_t n) {
    return [this, n](Tx& tx) -> Result<void> {
      buffered_.push_back(n);
      return insert(tx, n);
    };
  }

  std::unique_ptr<testing::TestDatabase> database_;
  // Of the thread that writes, read when nothing is being written.
  Numbers buffered_;
  std::vector<Numbers> batches_;  // what finish saw
  Fn finish_;
  std::atomic<int> commits_ = 0;
};
ROSTER_BOTH_ENGINES(WriterTest);

TEST_P(WriterTest, AFailureLeavesItsNeighboursAlone) {
  open();
  count_with_hooks();
  const auto results = write_together({
      noting(1),
      [this](Tx& tx) -> Result<void> {
        buffered_.push_back(2);
        RETURN_IF_ERROR(insert(tx, 2));
        return fail(Code::kVersionMismatch, "mine", "keyword");
      },
      noting(1),  // taken by the first
      noting(3),
  });
  ASSERT_TRUE(results[0]);
  ASSERT_FALSE(results[1]);
  EXPECT_EQ(results[1].error().code, Code::kVersionMismatch);
  EXPECT_EQ(results[1].error().message, "mine");
  EXPECT_EQ(results[1].error().keyword, "keyword");
  ASSERT_FALSE(results[2]);
  EXPECT_EQ(results[2].error().code, Code::kAlreadyExists);
  ASSERT_TRUE(results[3]);
  EXPECT_EQ(rows(), (Numbers{1, 3}));
  EXPECT_EQ(batches_.back(), (Numbers{1, 3}));
}

/// Ends the transaction under the batch, as an I/O error may.
Result<void> end_transaction(Tx& tx) {
  constexpr Statement kRollback{"insert or roll back", "INSERT OR ROLLBACK INTO r (n) VALUES (1)"};
  return done(tx.execute(kRollback));
}
Result<void> kill_connection(Tx& tx) {
  constexpr Statement kTerminate{"terminate", "SELECT pg_terminate_backend(pg_backend_pid())::int"};
  return done(tx.execute(kTerminate));
}

TEST_P(WriterTest, OthersRunAgainWhenOneEndsTheTransaction) {
  open();
  count_with_hooks();
  int runs = 0;
  int result = 0;
  const auto culprit = GetParam() == Engine::kSqlite ? end_transaction : kill_connection;
  const auto results = write_together({
      [this, &runs, &result](Tx& tx) -> Result<void> {
        result = ++runs;
        return noting(1)(tx);
      },
      noting(2),
      culprit,
      noting(3),
  });
  EXPECT_TRUE(results[0]) << results[0].error().message;
  EXPECT_TRUE(results[1]);
  ASSERT_FALSE(results[2]);
  EXPECT_TRUE(results[3]);
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(result, 2);
  EXPECT_EQ(rows(), (Numbers{1, 2, 3}));
  Numbers noted;
  for (const Numbers& batch : batches_) noted.insert(noted.end(), batch.begin(), batch.end());
  EXPECT_EQ(noted, (Numbers{1, 2, 3}));  // buffered once each although run twice
}

// A second closure that ends the transaction in the same batch: nobody is kept waiting for ever.
TEST_P(WriterTest, TwoCulpritsFailTheBatchAndNotTheWriter) {
  open();
  const auto culprit = GetParam() == Engine::kSqlite ? end_transaction : kill_connection;
  ASSERT_TRUE(db().write([](Tx& tx) { return insert(tx, 1); }));
  int runs = 0;
  const auto results = write_together({
      [&runs, &culprit](Tx& tx) -> Result<void> {
        return ++runs == 2 ? culprit(tx) : insert(tx, 5);
      },
      culprit,
  });
  ASSERT_FALSE(results[0]);
  EXPECT_EQ(results[0].error().code, Code::kUnavailable);
  ASSERT_FALSE(results[1]);
  EXPECT_EQ(rows(), (Numbers{1}));
  // The connection may be made anew only after a pause.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  Result<void> again = fail(Code::kInternal, "");
  while (!again && std::chrono::steady_clock::now() < until) {
    again = db().write([](Tx& tx) { return insert(tx, 6); });
  }
  EXPECT_TRUE(again) << again.error().message;
}

TEST_P(WriterTest, AFailedCommitFailsAllAndKeepsNothing) {
  open();
  count_with_hooks();
  const auto results = write_together({
      noting(1),
      [this](Tx& tx) -> Result<void> {
        buffered_.push_back(2);
        return done(tx.execute(kInsertLate, 999));  // noticed at COMMIT
      },
      noting(1),  // its verdict rests on a row that does not come to be
  });
  for (const auto& result : results) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kUnavailable) << result.error().message;
  }
  EXPECT_EQ(rows(), Numbers{});
  EXPECT_TRUE(buffered_.empty());
  EXPECT_TRUE(db().write(noting(4)));
  EXPECT_EQ(batches_.back(), Numbers{4});
  EXPECT_EQ(rows(), Numbers{4});
}

TEST_P(WriterTest, AFailingEndOfBatchFailsAll) {
  open();
  count_with_hooks();
  for (const bool throws : {false, true}) {
    finish_ = [throws](Tx&) -> Result<void> {
      if (throws) throw std::runtime_error("thrown");
      return fail(Code::kInternal, "numbering failed");
    };
    const auto results = write_together({noting(1), noting(2)});
    for (const auto& result : results) {
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, Code::kInternal);
    }
    EXPECT_TRUE(buffered_.empty());
    EXPECT_EQ(rows(), Numbers{});
    finish_ = nullptr;
  }
  EXPECT_TRUE(db().write(noting(3)));
}

TEST_P(WriterTest, AnExceptionIsAnErrorOfItsClosureOnly) {
  open();
  const auto results = write_together({
      [](Tx& tx) -> Result<void> { return insert(tx, 1); },
      [](Tx& tx) -> Result<void> {
        RETURN_IF_ERROR(insert(tx, 2));
        throw std::runtime_error("oops");
      },
      [](Tx& tx) -> Result<void> { return insert(tx, 3); },
  });
  EXPECT_TRUE(results[0]);
  ASSERT_FALSE(results[1]);
  EXPECT_EQ(results[1].error().code, Code::kInternal);
  EXPECT_THAT(results[1].error().message, HasSubstr("oops"));
  EXPECT_TRUE(results[2]);
  EXPECT_EQ(rows(), (Numbers{1, 3}));
}

// On PostgreSQL everything after an error is refused; SQLite would carry on and commit half.
TEST_P(WriterTest, AClosureCannotLookAwayFromAnError) {
  open();
  const auto result = db().write([](Tx& tx) -> Result<void> {
    RETURN_IF_ERROR(insert(tx, 1));
    EXPECT_FALSE(insert(tx, 1));
    const auto after = insert(tx, 2);
    EXPECT_FALSE(after);
    EXPECT_EQ(after.error().code, Code::kAlreadyExists);
    return {};
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kAlreadyExists);
  EXPECT_EQ(rows(), Numbers{});
}

TEST_P(WriterTest, AFullQueueRefusesAtOnce) {
  open({.queue_max = 3});
  std::promise<void> started;
  std::promise<void> go;
  auto blocker = std::async(std::launch::async, [this, &started, &go] {
    return db().write([&started, &go](Tx&) -> Result<void> {
      started.set_value();
      go.get_future().wait();
      return {};
    });
  });
  started.get_future().wait();
  std::vector<std::future<Result<void>>> answers;
  for (int n = 1; n <= 3; ++n) {
    answers.push_back(std::async(std::launch::async, [this, n] {
      return db().write([n](Tx& tx) { return insert(tx, n); });
    }));
  }
  while (writer().queued() < 3) std::this_thread::yield();
  const auto refused = db().write([](Tx& tx) { return insert(tx, 4); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("queue"));
  go.set_value();
  EXPECT_TRUE(blocker.get());
  for (auto& answer : answers) EXPECT_TRUE(answer.get());
  EXPECT_EQ(rows(), (Numbers{1, 2, 3}));
}

TEST_P(WriterTest, BatchesAreBoundedAndInOrder) {
  open();
  count_with_hooks();
  std::vector<Fn> closures;
  for (int n = 0; n < 150; ++n) closures.push_back(noting(n));
  for (const auto& result : write_together(closures)) EXPECT_TRUE(result);
  Numbers noted;
  for (const Numbers& batch : batches_) {
    EXPECT_LE(batch.size(), 64u);
    noted.insert(noted.end(), batch.begin(), batch.end());
  }
  EXPECT_TRUE(std::is_sorted(noted.begin(), noted.end()));
  EXPECT_EQ(noted.size(), 150u);
}

TEST_P(WriterTest, NobodyIsAnsweredBeforeTheNotice) {
  open();
  count_with_hooks();
  for (int n = 1; n <= 20; ++n) {
    ASSERT_TRUE(db().write(noting(n)));
    EXPECT_GE(commits_.load(), n);
  }
}

// A lone write must not wait for company: here it would take a minute each.
TEST_P(WriterTest, ALoneWriteIsCommittedAtOnce) {
  open({.batch_time = std::chrono::minutes(1)});
  const auto start = std::chrono::steady_clock::now();
  for (int n = 0; n < 50; ++n) {
    ASSERT_TRUE(db().write([n](Tx& tx) { return insert(tx, n); }));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(1));
}

TEST_P(WriterTest, ALoneWriteRunsOnItsCallersThreadAndSeveralDoNot) {
  open();
  std::set<std::thread::id> threads;
  const auto note = [&threads](Tx&) -> Result<void> {
    threads.insert(std::this_thread::get_id());
    return {};
  };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(db().write(note));
  EXPECT_EQ(threads, std::set{std::this_thread::get_id()});
  threads.clear();
  for (const auto& result : write_together({note, note, note})) EXPECT_TRUE(result);
  EXPECT_EQ(threads.size(), 1U) << "one batch";
  // The next one finds that several came together; one after it, that it is alone again.
  threads.clear();
  ASSERT_TRUE(db().write(note));
  EXPECT_FALSE(threads.contains(std::this_thread::get_id()));
  for (int i = 0; i < 10'000 && !threads.contains(std::this_thread::get_id()); ++i) {
    ASSERT_TRUE(db().write(note));
  }
  EXPECT_TRUE(threads.contains(std::this_thread::get_id()));
}

TEST_P(WriterTest, EightThreadsLoseNothing) {
  open();
  std::vector<std::thread> threads;
  std::atomic<int> acknowledged = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, t, &acknowledged] {
      for (int i = 0; i < 100; ++i) {
        const bool fails = (t + i) % 5 == 0;
        const auto result = db().write([fails](Tx& tx) -> Result<void> {
          RETURN_IF_ERROR(done(tx.execute(kIncrement)));
          if (fails) return fail(Code::kInvalidArgument, "no");
          return {};
        });
        EXPECT_EQ(result.has_value(), !fails);
        if (result) ++acknowledged;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const auto value = db().read(
      [](Tx& tx) { return tx.query_one(kCounter, [](const Row& row) { return row.integer(0); }); });
  ASSERT_TRUE(value && *value);
  EXPECT_EQ(**value, acknowledged);
  EXPECT_EQ(acknowledged, 640);
}

}  // namespace
}  // namespace roster::store
