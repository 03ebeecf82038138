#include "posix/id_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace roster::posix {
namespace {

using testing::HasSubstr;

TEST(IdRangesTest, NeverServed) {
  for (const std::uint32_t id :
       {0U, 1U, 999U, 65534U, 65535U, 2147483648U, 4294967294U, 4294967295U}) {
    EXPECT_TRUE(is_never_served(id)) << id;
  }
  for (const std::uint32_t id : {1000U, 10000U, 60001U, 65533U, 65536U, 524288U, 2147483647U}) {
    EXPECT_FALSE(is_never_served(id)) << id;
  }
}

struct BlockCase {
  IdBlock block;
  std::string_view reason;  // empty = accepted
};

TEST(IdRangesTest, BlocksForAllocation) {
  const BlockCase cases[] = {
      {{10000, 59999}, ""},
      {{1000, 60000}, ""},
      {{60706, 61183}, ""},
      {{65520, 65533}, ""},
      {{65536, 99999}, ""},
      {{1879048192, 2147352575}, ""},
      {{2147418112, 2147483647}, ""},
      {{5000, 5000}, ""},
      {{0, 0}, "the system's users"},
      {{999, 2000}, "0-999"},
      {{60000, 60001}, "systemd-homed"},
      {{60514, 60514}, "mapped into containers"},
      {{60600, 60600}, "greeter"},
      {{50000, 61184}, "systemd-homed"},  // the first of several
      {{65519, 65520}, "dynamic service users"},
      {{65533, 65534}, "nobody"},
      {{65535, 70000}, "nobody"},
      {{100000, 165535}, "subuid"},
      {{524287, 524287}, "subuid"},
      {{1000000, 1999999}, "containers"},
      {{1879048191, 1879048192}, "containers"},
      {{2147352576, 2147352576}, "foreign"},
      {{2147483647, 2147483648}, "31 bits"},
      {{4294967295, 4294967295}, "31 bits"},
      {{2000, 1999}, "the end is before the start"},
      {{0, 4294967295}, "the system's users"},
  };
  for (const BlockCase& c : cases) {
    const auto result = validate_block(c.block);
    EXPECT_EQ(result.has_value(), c.reason.empty()) << format_block(c.block);
    if (!result) EXPECT_THAT(result.error().message, HasSubstr(c.reason));
  }
  EXPECT_EQ(validate_block({60000, 60100}).error().message,
            "ids 60000-60100 meet 60001-60513, which belong to systemd-homed");
}

TEST(IdRangesTest, BlocksForImport) {
  for (const IdBlock good :
       {IdBlock{1000, 65533}, IdBlock{65536, kIdMax}, IdBlock{200000, 300000}}) {
    EXPECT_TRUE(validate_import_block(good)) << format_block(good);
  }
  for (const IdBlock bad :
       {IdBlock{0, 5000}, IdBlock{999, 999}, IdBlock{60000, 70000}, IdBlock{65535, 65536},
        IdBlock{5000, 2147483648}, IdBlock{6000, 5000}}) {
    EXPECT_FALSE(validate_import_block(bad)) << format_block(bad);
  }
}

TEST(IdRangesTest, BlockText) {
  EXPECT_EQ(parse_block("10000-59999"), (IdBlock{10000, 59999}));
  EXPECT_EQ(format_block({10000, 59999}), "10000-59999");
  for (const char* bad : {"", "-", "1", "1-", "-1", "1--2", " 1-2", "1-2 ", "1-2-3", "a-b", "0x1-2",
                          "1-4294967296", "99999999999999999999-1", "+1-2"}) {
    EXPECT_FALSE(parse_block(bad)) << bad;
  }
}

// Two organizations must never get overlapping blocks, whatever was given before.
TEST(IdRangesTest, NextBlocksAreValidDisjointAndEnd) {
  std::vector<IdBlock> taken = {{1879048192 + 100, 1879048192 + 200}};  // given by hand
  const auto first = next_block(taken);
  ASSERT_TRUE(first);
  EXPECT_EQ(*first, kFirstBlock);
  taken.push_back(*first);
  EXPECT_EQ(next_block(taken)->first, kSliceSpace.first + kSliceSize);  // the first slice is cut
  for (int given = 0; given < 2000; ++given) {
    const auto block = next_block(taken);
    if (!block) {
      EXPECT_EQ(block.error().code, Code::kFailedPrecondition);
      EXPECT_EQ(given, 1022);
      return;
    }
    ASSERT_TRUE(validate_block(*block));
    for (const IdBlock other : taken) ASSERT_FALSE(other.overlaps(*block));
    taken.push_back(*block);
  }
  FAIL() << "the space never ends";
}

}  // namespace
}  // namespace roster::posix
