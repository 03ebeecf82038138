#include "hub/feed_query.h"

#include <gtest/gtest.h>

namespace roster::hub {
namespace {

TEST(FeedQuery, TakesWhatTheContractSays) {
  const auto query =
      FeedQuery::parse("view=login&since=e.7.ab&highest_id=2147483647&wait=300&more=9~12");
  ASSERT_TRUE(query) << query.error().message;
  EXPECT_EQ(query->view, "login");
  EXPECT_EQ(query->cursor, "e.7.ab");
  EXPECT_TRUE(query->acknowledges);
  EXPECT_EQ(query->highest_id, 2'147'483'647U);
  EXPECT_EQ(query->wait.count(), 300);
  ASSERT_TRUE(query->more);
  EXPECT_EQ(query->more->reached, Seq{9});
  EXPECT_EQ(query->more->head, Seq{12});
  EXPECT_EQ(query->more->encode(), "9~12");
}

TEST(FeedQuery, FromIsNoAcknowledgement) {
  const auto query = FeedQuery::parse("from=e.7.ab");
  ASSERT_TRUE(query);
  EXPECT_FALSE(query->acknowledges);
  EXPECT_FALSE(query->view);
  EXPECT_FALSE(query->more);
  EXPECT_EQ(query->wait.count(), 0);
}

class Refused : public ::testing::TestWithParam<const char*> {};

TEST_P(Refused, NamesTheParameter) {
  const auto query = FeedQuery::parse(GetParam());
  ASSERT_FALSE(query) << GetParam();
  EXPECT_EQ(query.error().code, Code::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Refused,
    ::testing::Values("", "since=a&from=b", "since=a&wait=301", "since=a&wait=-1",
                      "since=a&wait=1s", "since=a&wait=", "since=a&highest_id=2147483648",
                      "since=a&highest_id=1e3", "since=a&more=", "since=a&more=5",
                      "since=a&more=5~5", "since=a&more=6~5", "since=a&more=~5", "since=a&more=5~",
                      "since=a&more=1~99999999999999999999", "since=a&more=1~2~3", "since=%GG"));

}  // namespace
}  // namespace roster::hub
