#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace roster {
namespace {

using ::testing::ElementsAre;

TEST(Text, TrimsBothEndsOnly) {
  EXPECT_EQ(trim("  a b\t"), "a b");
  EXPECT_EQ(trim(" \t "), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim("\na\n"), "\na\n") << "a newline is no blank unless it is named";
  EXPECT_EQ(trim("\na\n", "\n"), "a");
}

TEST(Text, SplitsAtEverySeparator) {
  EXPECT_THAT(split("a:b::c:", ':'), ElementsAre("a", "b", "", "c", ""));
  EXPECT_THAT(split("", ':'), ElementsAre(""));
  EXPECT_THAT(split("abc", ':'), ElementsAre("abc"));
}

TEST(Text, GivesEachLine) {
  const auto lines = [](std::string_view text) {
    std::vector<std::string_view> out;
    each_line(text, [&out](std::string_view line) { out.push_back(line); });
    return out;
  };
  EXPECT_THAT(lines("a\n\nb"), ElementsAre("a", "", "b"));
  EXPECT_THAT(lines("a\n"), ElementsAre("a")) << "the last newline ends a line, it begins none";
  EXPECT_THAT(lines(""), ElementsAre());
}

}  // namespace
}  // namespace roster
