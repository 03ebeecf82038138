#include "sync/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <vector>

namespace roster::sync {
namespace {

TEST(InParallel, DoesEachOnce) {
  std::vector<std::atomic<int>> done(1'000);
  ASSERT_TRUE(in_parallel(done.size(), 8, [&done](std::size_t worker, std::size_t i) {
    EXPECT_LT(worker, 8u);
    ++done[i];
    return Result<void>();
  }));
  for (const auto& count : done) EXPECT_EQ(count, 1);
}

TEST(InParallel, RunsAsManyAtATimeAsAsked) {
  std::latch together(3);  // would hang with fewer
  ASSERT_TRUE(in_parallel(3, 3, [&together](std::size_t, std::size_t) {
    together.arrive_and_wait();
    return Result<void>();
  }));
}

TEST(InParallel, TheFirstErrorEndsIt) {
  std::atomic<std::size_t> begun{0};
  const auto ran = in_parallel(10'000, 2, [&begun](std::size_t, std::size_t i) -> Result<void> {
    ++begun;
    if (i == 3) return fail(Code::kNotFound, "the third");
    return {};
  });
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().message, "the third");
  EXPECT_LT(begun, 10'000u);
  EXPECT_TRUE(in_parallel(0, 2, [](std::size_t, std::size_t) -> Result<void> {
    return fail(Code::kInternal, "there is nothing to do");
  }));
}

}  // namespace
}  // namespace roster::sync
