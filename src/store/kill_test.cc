#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "store/database.h"
#include "store/testing/engines.h"

namespace roster::store {
namespace {

constexpr Migration kSchema[] = {
    {1, "rows", "CREATE TABLE r (n INTEGER PRIMARY KEY) STRICT",
     "CREATE TABLE r (n bigint PRIMARY KEY)"},
};
constexpr Statement kInsert{"insert", "INSERT INTO r (n) VALUES ($1)"};
constexpr Statement kAll{"all", "SELECT n FROM r"};
constexpr int kRounds = 20;
constexpr int kThreads = 4;
constexpr std::int64_t kRowsPerRound = 1'000'000;  // numbers set aside, never all used

/// Writes rows and tells each acknowledged one through the pipe, until killed.
[[noreturn]] void write_until_killed(testing::TestDatabase& database, std::int64_t first,
                                     int pipe_fd) {
  database.reopen();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&database, first, pipe_fd, t] {
      for (std::int64_t n = first + t;; n += kThreads) {
        const auto wrote = database->write([n](Tx& tx) { return tx.execute(kInsert, n); });
        if (!wrote) ::_exit(1);
        if (::write(pipe_fd, &n, sizeof n) != sizeof n) ::_exit(2);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  ::_exit(3);
}

Result<std::set<std::int64_t>> all(Tx& tx) {
  std::set<std::int64_t> found;
  RETURN_IF_ERROR(tx.query(kAll, [&found](const Row& row) -> Result<void> {
    found.insert(row.integer(0));
    return {};
  }));
  return found;
}

class KillTest : public testing::BothEngines {};
ROSTER_BOTH_ENGINES(KillTest);

TEST_P(KillTest, EveryAcknowledgedRowSurvives) {
  testing::TestDatabase database(GetParam());
  ASSERT_TRUE(migrate(*database, kSchema));
  std::set<std::int64_t> acknowledged;
  for (int round = 0; round < kRounds; ++round) {
    database.close();
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_until_killed(database, round * kRowsPerRound, ends[1]);
    UniqueFd reader(ends[0]);
    ::close(ends[1]);
    const int enough = 5 + 13 * round;  // another moment in each round
    std::int64_t n = 0;
    for (int got = 0; ::read(reader.get(), &n, sizeof n) == sizeof n;) {
      acknowledged.insert(n);
      if (++got == enough) ::kill(child, SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "round " << round;

    database.reopen();
    const auto stored = database->read(all);
    ASSERT_TRUE(stored) << stored.error().message;
    for (const std::int64_t row : acknowledged) ASSERT_TRUE(stored->contains(row)) << row;
  }
  EXPECT_GT(acknowledged.size(), 20u * 5u);
}

}  // namespace
}  // namespace roster::store
