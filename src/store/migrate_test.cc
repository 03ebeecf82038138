#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

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

}  // namespace
}  // namespace roster::store
