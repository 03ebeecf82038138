#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "store/database.h"
#include "store/testing/engines.h"

namespace roster::store {
namespace {

using ::testing::HasSubstr;

constexpr Migration kSteps[] = {
    {1, "people",
     "CREATE TABLE person (n INTEGER PRIMARY KEY) STRICT; INSERT INTO person VALUES (1)",
     "CREATE TABLE person (n bigint PRIMARY KEY); INSERT INTO person VALUES (1)"},
    {2, "names",
     "ALTER TABLE person ADD COLUMN name TEXT; UPDATE person SET name = 'ada';"
     "CREATE INDEX person_name ON person (name);",
     "ALTER TABLE person ADD COLUMN name text; UPDATE person SET name = 'ada';"
     "CREATE INDEX person_name ON person (name);"},
};
// The first half of step 2 works, the second does not.
constexpr Migration kBroken[] = {
    kSteps[0],
    {2, "broken names", "ALTER TABLE person ADD COLUMN name TEXT; UPDATE nobody SET name = 'ada'",
     "ALTER TABLE person ADD COLUMN name text; UPDATE nobody SET name = 'ada'"},
};
constexpr Statement kNames{"names", "SELECT name FROM person"};
constexpr Statement kVersions{"versions",
                              "SELECT version, applied_at FROM schema_version ORDER BY version"};

Result<std::vector<std::int64_t>> versions(Tx& tx) {
  std::vector<std::int64_t> found;
  RETURN_IF_ERROR(tx.query(kVersions, [&found](const Row& row) -> Result<void> {
    found.push_back(row.integer(0));
    EXPECT_GT(row.integer(1), 1'700'000'000'000);  // milliseconds, not seconds
    return {};
  }));
  return found;
}

class MigrateTest : public testing::BothEngines {};
ROSTER_BOTH_ENGINES(MigrateTest);

TEST_P(MigrateTest, StepsAreTakenOnceEach) {
  testing::TestDatabase database(GetParam());
  ASSERT_TRUE(migrate(*database, std::span(kSteps).first(1)));
  EXPECT_EQ(database->read(versions).value(), (std::vector<std::int64_t>{1}));
  ASSERT_TRUE(migrate(*database, kSteps));
  database.reopen();
  ASSERT_TRUE(migrate(*database, kSteps));
  EXPECT_EQ(database->read(versions).value(), (std::vector<std::int64_t>{1, 2}));
  const auto name = database->read([](Tx& tx) {
    return tx.query_one(kNames, [](const Row& row) { return std::string(row.text(0)); });
  });
  ASSERT_TRUE(name && *name);
  EXPECT_EQ(**name, "ada");
}

TEST_P(MigrateTest, ANewerDatabaseIsLeftAlone) {
  testing::TestDatabase database(GetParam());
  ASSERT_TRUE(migrate(*database, kSteps));
  const auto refused = migrate(*database, std::span(kSteps).first(1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_THAT(refused.error().message, HasSubstr("version 2"));
  EXPECT_THAT(refused.error().message, HasSubstr("up to 1"));
}

// What a kill in the middle of a step leaves is what a failure leaves: nothing of the step.
TEST_P(MigrateTest, AStepThatFailsLeavesNothingAndCanBeTakenAgain) {
  testing::TestDatabase database(GetParam());
  const auto broken = migrate(*database, kBroken);
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("schema step 2 (broken names)"));
  EXPECT_EQ(database->read(versions).value(), (std::vector<std::int64_t>{1}));
  const auto mended = migrate(*database, kSteps);
  EXPECT_TRUE(mended) << mended.error().message;
}

// Long enough to be killed in the middle of.
constexpr Migration kLong[] = {
    kSteps[0],
    {2, "many names",
     "CREATE TABLE many (n INTEGER PRIMARY KEY) STRICT;"
     "WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 30000)"
     " INSERT INTO many SELECT n FROM i; CREATE INDEX many_n ON many (n)",
     "CREATE TABLE many (n bigint PRIMARY KEY);"
     "INSERT INTO many SELECT generate_series(1, 30000); CREATE INDEX many_n ON many (n)"},
};

[[noreturn]] void migrate_until_killed(testing::TestDatabase& database, int pipe_fd) {
  database.reopen();
  if (!migrate(*database, std::span(kLong).first(1))) ::_exit(1);
  if (::write(pipe_fd, "1", 1) != 1) ::_exit(1);
  if (!migrate(*database, kLong)) ::_exit(1);
  ::pause();
  ::_exit(1);
}

TEST_P(MigrateTest, AKillAtAnyMomentLeavesWholeSteps) {
  for (int round = 0; round < 8; ++round) {
    testing::TestDatabase database(GetParam());
    database.close();
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) migrate_until_killed(database, writer.get());
    char byte = 0;
    ASSERT_EQ(::read(reader.get(), &byte, 1), 1);
    ::usleep(static_cast<useconds_t>(round) * 2000);  // another moment in each round
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));

    database.reopen();
    const auto mended = migrate(*database, kLong);
    ASSERT_TRUE(mended) << mended.error().message;
    constexpr Statement kMany{"many", "SELECT count(*) FROM many"};
    const auto rows = database->read([kMany](Tx& tx) {
      return tx.query_one(kMany, [](const Row& row) { return row.integer(0); });
    });
    ASSERT_TRUE(rows && *rows);
    EXPECT_EQ(**rows, 30000);
  }
}

}  // namespace
}  // namespace roster::store
