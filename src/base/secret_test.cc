#include "base/secret.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "base/log.h"

namespace roster {
namespace {

static_assert(!std::is_constructible_v<log::Field, const char*, const Secret&>);
static_assert(!std::is_convertible_v<Secret, std::string>);

TEST(Secret, MovedFromIsEmpty) {
  Secret a("short");
  Secret b(std::move(a));
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_EQ(b.expose(), "short");
}

TEST(Secret, ConstantTimeEqual) {
  EXPECT_TRUE(constant_time_equal("", ""));
  EXPECT_TRUE(constant_time_equal("abc", "abc"));
  EXPECT_FALSE(constant_time_equal("abc", "abd"));
  EXPECT_FALSE(constant_time_equal("abc", "ab"));
}

}  // namespace
}  // namespace roster
