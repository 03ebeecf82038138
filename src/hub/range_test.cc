#include "hub/range.h"

#include <gtest/gtest.h>

namespace roster::hub {
namespace {

using Kind = ByteRange::Kind;

struct Case {
  const char* header;
  std::uint64_t size;
  Kind kind;
  std::uint64_t first;
  std::uint64_t length;
};

class Range : public ::testing::TestWithParam<Case> {};

// Would catch: a byte too many at either end, an overflow, and a range taken from what is no range.
TEST_P(Range, IsAsTheRfcSays) {
  const Case& c = GetParam();
  const ByteRange range = parse_range(c.header, c.size);
  EXPECT_EQ(range.kind, c.kind) << c.header;
  if (c.kind == Kind::kUnsatisfiable) return;
  EXPECT_EQ(range.first, c.first) << c.header;
  EXPECT_EQ(range.size, c.length) << c.header;
}

INSTANTIATE_TEST_SUITE_P(
    Table, Range,
    ::testing::Values(
        Case{"", 100, Kind::kWhole, 0, 100}, Case{"bytes=0-0", 100, Kind::kPart, 0, 1},
        Case{"bytes=0-99", 100, Kind::kPart, 0, 100}, Case{"bytes=0-100", 100, Kind::kPart, 0, 100},
        Case{"bytes=50-", 100, Kind::kPart, 50, 50}, Case{"bytes=99-", 100, Kind::kPart, 99, 1},
        Case{"bytes=100-", 100, Kind::kUnsatisfiable, 0, 0},
        Case{"bytes=-1", 100, Kind::kPart, 99, 1}, Case{"bytes=-100", 100, Kind::kPart, 0, 100},
        Case{"bytes=-101", 100, Kind::kPart, 0, 100},
        Case{"bytes=-0", 100, Kind::kUnsatisfiable, 0, 0},
        Case{"bytes=-5", 0, Kind::kUnsatisfiable, 0, 0},
        Case{"bytes=0-", 0, Kind::kUnsatisfiable, 0, 0},
        Case{"bytes=5-99999999999999999999999", 100, Kind::kPart, 5, 95},
        Case{"bytes=99999999999999999999999-", 100, Kind::kUnsatisfiable, 0, 0},
        Case{"bytes=9-5", 100, Kind::kWhole, 0, 100},
        Case{"bytes=0-1,5-6", 100, Kind::kWhole, 0, 100},
        Case{"bytes=-", 100, Kind::kWhole, 0, 100}, Case{"bytes=a-b", 100, Kind::kWhole, 0, 100},
        Case{"bytes=+1-2", 100, Kind::kWhole, 0, 100},
        Case{"items=0-1", 100, Kind::kWhole, 0, 100}));

}  // namespace
}  // namespace roster::hub
