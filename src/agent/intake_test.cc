#include "agent/intake.h"

#include <gtest/gtest.h>

#include <string>

namespace roster::agent {
namespace {

TEST(Progress, ACursorMayOnlyGoOnWithinItsEpoch) {
  EXPECT_TRUE(check_progress("", "e1.5.aa", "e1"));
  EXPECT_TRUE(check_progress("e1.5.aa", "e1.5.aa", "e1"));
  EXPECT_TRUE(check_progress("e1.5.aa", "e1.6.ab", "e1"));
  EXPECT_TRUE(check_progress("e1.5.aa", "e2.1.ab", "e2")) << "a new epoch begins anew";
  const auto back = check_progress("e1.5.aa", "e1.4.ab", "e1");
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().keyword, kGoesBack);
  EXPECT_FALSE(check_progress("e1.5.aa", "e1.6.ab", "e2")) << "cursor and head differ";
  EXPECT_FALSE(check_progress("e1.5.aa", "nonsense", "e1"));
}

}  // namespace
}  // namespace roster::agent
