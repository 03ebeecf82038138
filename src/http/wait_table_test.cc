#include "http/wait_table.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace roster::http {
namespace {

TEST(WaitTable, WakesThoseBelowTheValue) {
  WaitTable<int> table(8);
  ASSERT_TRUE(table.park("a", 1, 0, 1));
  ASSERT_TRUE(table.park("a", 2, 0, 2));
  ASSERT_TRUE(table.park("b", 1, 0, 3));
  EXPECT_EQ(table.notify("a", 1), std::vector<int>{});
  EXPECT_EQ(table.notify("a", 2), std::vector<int>{1});
  EXPECT_EQ(table.parked(), 2U);
  EXPECT_EQ(table.notify("a", 9), std::vector<int>{2});
  EXPECT_EQ(table.notify("a", 10), std::vector<int>{});
}

TEST(WaitTable, ANotificationBeforeParkingIsNotLost) {
  WaitTable<int> table(8);
  table.notify("a", 5);
  EXPECT_FALSE(table.park("a", 4, table.evictions(), 1));
  EXPECT_TRUE(table.park("a", 5, table.evictions(), 1));
  // An older value that comes late takes nothing back.
  table.notify("a", 3);
  EXPECT_FALSE(table.park("a", 4, table.evictions(), 2));
}

TEST(WaitTable, AForgottenKeyAsksOnceMore) {
  WaitTable<int> table(2);
  const auto before = table.evictions();
  for (const char* key : {"a", "b", "c"}) table.notify(key, 7);
  EXPECT_FALSE(table.park("a", 6, before, 1)) << "the notification would be lost";
  EXPECT_TRUE(table.park("a", 7, table.evictions(), 1)) << "and it must not spin";
}

TEST(WaitTable, ForgettingKeepsKeysThatAreWaitedFor) {
  WaitTable<int> table(2);
  ASSERT_TRUE(table.park("kept", 1, 0, 42));
  for (int i = 0; i < 100; ++i) table.notify("k" + std::to_string(i), 1);
  EXPECT_EQ(table.notify("kept", 2), std::vector<int>{42});
}

TEST(WaitTable, RemovedWaitersAreNotWoken) {
  WaitTable<int> table(8);
  const auto first = table.park("a", 1, 0, 1);
  const auto second = table.park("a", 1, 0, 2);
  table.remove("a", *first);
  table.remove("a", *first);
  EXPECT_EQ(table.parked(), 1U);
  EXPECT_EQ(table.notify("a", 2), std::vector<int>{2});
  table.remove("a", *second);
  EXPECT_EQ(table.parked(), 0U);
}

}  // namespace
}  // namespace roster::http
