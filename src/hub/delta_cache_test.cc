#include "hub/delta_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

namespace roster::hub {
namespace {

DeltaCache::Key key(std::uint64_t after) {
  return {.org = 1, .epoch = "e", .view = "default", .after = Seq{after}, .head = {}};
}

DeltaCache::Part part(std::size_t size, std::uint64_t head) {
  return {.bytes = std::make_shared<const std::string>(size, 'x'), .head = Seq{head}};
}

TEST(DeltaCache, RendersOnceUntilTheHeadMoves) {
  DeltaCache cache(1 << 20);
  int rendered = 0;
  const auto get = [&](std::uint64_t head) {
    return cache.get(key(1), Seq{head}, [&]() -> Result<DeltaCache::Part> {
      ++rendered;
      return part(10, head);
    });
  };
  const auto first = get(5);
  const auto again = get(5);
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->bytes, again->bytes);
  EXPECT_EQ(rendered, 1);
  ASSERT_TRUE(get(6));
  EXPECT_EQ(rendered, 2);
  // A request whose head was read before the last render takes the newer part.
  EXPECT_EQ(get(5)->head, Seq{6});
  EXPECT_EQ(rendered, 2);
}

TEST(DeltaCache, KeepsNoErrors) {
  DeltaCache cache(1 << 20);
  const auto failed = cache.get(key(1), Seq{1}, []() -> Result<DeltaCache::Part> {
    return fail(Code::kUnavailable, "busy");
  });
  EXPECT_FALSE(failed);
  EXPECT_TRUE(cache.get(key(1), Seq{1}, [] { return Result<DeltaCache::Part>(part(1, 1)); }));
}

TEST(DeltaCache, IsBoundedWhateverIsAsked) {
  constexpr std::size_t kMax = 100'000;
  DeltaCache cache(kMax);
  for (std::uint64_t after = 0; after < 1'000; ++after) {
    ASSERT_TRUE(cache.get(key(after), Seq{1}, [&]() -> Result<DeltaCache::Part> {
      if (after % 3 == 0) return fail(Code::kUnavailable, "busy");
      return part(after % 7 * 1'000, 1);
    }) || after % 3 == 0);
    EXPECT_LE(cache.bytes(), kMax);
  }
  // One that is larger than the cache is served, and makes place for the next.
  ASSERT_TRUE(
      cache.get(key(5'000), Seq{1}, [] { return Result<DeltaCache::Part>(part(2 * kMax, 1)); }));
  ASSERT_TRUE(cache.get(key(5'001), Seq{1}, [] { return Result<DeltaCache::Part>(part(10, 1)); }));
  EXPECT_LE(cache.bytes(), kMax);
}

TEST(DeltaCache, RendersOnceForManyAtOneTime) {
  constexpr int kThreads = 16;
  DeltaCache cache(1 << 20);
  std::atomic<int> rendered = 0;
  std::latch together(kThreads);
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      together.arrive_and_wait();
      const auto got = cache.get(key(1), Seq{1}, [&]() -> Result<DeltaCache::Part> {
        ++rendered;
        return part(100, 1);
      });
      EXPECT_TRUE(got && got->bytes->size() == 100);
    });
  }
  threads.clear();
  EXPECT_EQ(rendered, 1);
}

}  // namespace
}  // namespace roster::hub
