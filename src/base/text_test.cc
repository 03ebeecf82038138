#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>

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

TEST(Text, SplitsIntoAsManyAsThereIsRoomFor) {
  std::array<std::string_view, 3> parts;
  ASSERT_TRUE(split_into("a::c", ':', parts));
  EXPECT_THAT(parts, ElementsAre("a", "", "c"));
  ASSERT_TRUE(split_into("a:b:", ':', parts));
  EXPECT_THAT(parts, ElementsAre("a", "b", ""));
  EXPECT_FALSE(split_into("a:b", ':', parts));
  EXPECT_FALSE(split_into("a:b:c:", ':', parts));
  EXPECT_FALSE(split_into("", ':', parts));
}

TEST(Text, NumbersAreWholeAndFit) {
  EXPECT_EQ(parse_number<std::uint32_t>("4294967295"), 4294967295U);
  EXPECT_EQ(parse_number<std::int64_t>("-7"), -7);
  for (const char* text : {"", " 1", "1 ", "+1", "-1", "0x1", "1.0", "4294967296"}) {
    EXPECT_FALSE(parse_number<std::uint32_t>(text)) << text;
  }
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
