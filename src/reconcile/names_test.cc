#include "reconcile/names.h"

#include <gtest/gtest.h>

namespace roster::reconcile {
namespace {

TEST(NamesTest, AFreeNameIsTakenAtOnce) {
  const auto turns = order_moves({{std::nullopt, "a"}, {"x", "b"}}, {"x", "y"});
  EXPECT_EQ(turns[0].level, 0U);
  EXPECT_EQ(turns[1].level, 0U);
}

TEST(NamesTest, AChainMovesFromItsEnd) {
  const auto turns = order_moves({{"a", "b"}, {"c", "d"}, {"b", "c"}}, {"a", "b", "c"});
  EXPECT_EQ(turns[1].level, 0U);
  EXPECT_EQ(turns[2].level, 1U);
  EXPECT_EQ(turns[0].level, 2U);
}

TEST(NamesTest, ACircleIsOpenedByParkingOne) {
  const auto turns = order_moves({{"a", "b"}, {"b", "c"}, {"c", "a"}}, {"a", "b", "c"});
  EXPECT_TRUE(turns[0].parked);
  EXPECT_FALSE(turns[1].parked);
  EXPECT_EQ(turns[2].level, 1U);  // c takes a, which is free now
  EXPECT_EQ(turns[1].level, 2U);  // b takes c
  EXPECT_EQ(turns[0].level, 3U);  // and the first takes b
}

TEST(NamesTest, WhoWaitsForAHolderThatStaysNeverMoves) {
  const auto turns = order_moves({{"a", "b"}, {"b", "c"}, {std::nullopt, "a"}}, {"a", "b", "c"});
  for (const Turn& turn : turns) EXPECT_EQ(turn.level, Turn::kNever);
}

}  // namespace
}  // namespace roster::reconcile
