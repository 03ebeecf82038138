#include "base/backoff.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>

namespace roster {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, DoublesUpToABoundAndDrawsFromTheUpperHalf) {
  for (const std::uint8_t drawn : {std::uint8_t{0}, std::uint8_t{77}, std::uint8_t{255}}) {
    const RandomBytes random = [drawn](std::span<std::uint8_t> out) {
      std::ranges::fill(out, drawn);
    };
    Backoff backoff(milliseconds(100), milliseconds(350));
    for (const int bound : {100, 200, 350, 350}) {
      const milliseconds delay = backoff.next(random);
      EXPECT_GE(delay, milliseconds(bound / 2));
      EXPECT_LE(delay, milliseconds(bound));
    }
    backoff.reset();
    EXPECT_LE(backoff.next(random), milliseconds(100));
  }
}

TEST(Backoff, DrawsNothingFromNothing) {
  EXPECT_EQ(draw_up_to(milliseconds(0), system_random), milliseconds(0));
  EXPECT_EQ(draw_up_to(milliseconds(-5), system_random), milliseconds(0));
}

}  // namespace
}  // namespace roster
