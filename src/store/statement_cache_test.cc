#include "store/statement_cache.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace roster::store {
namespace {

TEST(StatementCache, DropsTheLeastRecentlyUsedBeyondItsBound) {
  StatementCache<std::string> cache(2);
  cache.insert("a", "A");
  cache.insert("b", "B");
  EXPECT_FALSE(cache.evict());
  ASSERT_NE(cache.find("a"), nullptr);  // "b" is now the oldest
  cache.insert("c", "C");
  EXPECT_EQ(cache.evict(), "B");
  EXPECT_FALSE(cache.evict());
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(cache.find("b"), nullptr);
  ASSERT_NE(cache.find("a"), nullptr);
  EXPECT_EQ(cache.find("a")->handle, "A");
}

// A query inside the callback of another: the outer one's statement must stay.
TEST(StatementCache, KeepsWhatIsInUse) {
  StatementCache<std::unique_ptr<int>> cache(1);
  cache.insert("outer", std::make_unique<int>(1))->in_use = true;
  cache.insert("inner", std::make_unique<int>(2));
  EXPECT_FALSE(cache.evict());
  EXPECT_EQ(*cache.find("outer")->handle, 1);
  cache.find("outer")->in_use = false;
  ASSERT_NE(cache.find("inner"), nullptr);
  const auto evicted = cache.evict();
  ASSERT_TRUE(evicted);
  EXPECT_EQ(**evicted, 1);
}

}  // namespace
}  // namespace roster::store
