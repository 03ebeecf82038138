#include "directory/query.h"

#include <gtest/gtest.h>

#include <numeric>

#include "store/testing/engines.h"

namespace roster::directory {
namespace {

TEST(PrefixEnd, IsTheFirstTextBeyondThePrefix) {
  EXPECT_EQ(prefix_end("ab"), "ac");
  EXPECT_EQ(prefix_end("a\x7f"), "a\u0080");
  EXPECT_EQ(prefix_end("é"), "ê");
  EXPECT_EQ(prefix_end("\u07ff"), "\u0800");
  EXPECT_EQ(prefix_end("\ud7ff"), "\ue000");  // steps over the surrogates
  EXPECT_EQ(prefix_end("\uffff"), "\U00010000");
  EXPECT_EQ(prefix_end("a\U0010ffff"), "b");
  EXPECT_EQ(prefix_end("\U0010ffff"), std::nullopt);
  EXPECT_EQ(prefix_end(""), std::nullopt);
}

class SetStatementTest : public store::testing::BothEngines {};
ROSTER_BOTH_ENGINES(SetStatementTest);

TEST_P(SetStatementTest, AsksForEachNumberOnceWhateverTheSize) {
  store::testing::TestDatabase database(GetParam());
  ASSERT_TRUE(database->write([](store::Tx& tx) -> Result<void> {
    RETURN_IF_ERROR(tx.run_script("CREATE TABLE t (n BIGINT PRIMARY KEY, k BIGINT)"));
    for (int n = 0; n < 3000; ++n) {
      RETURN_IF_ERROR(tx.execute({"t", "INSERT INTO t (n, k) VALUES ($1, $2)"}, n, n % 2));
    }
    return {};
  }));
  const SetStatement statement("t.odd", "SELECT n FROM t WHERE k = $1 AND n IN ", 1, " ORDER BY n");
  for (const std::size_t size : {0UL, 1UL, 2UL, 16UL, 17UL, 256UL, 300UL, 1000UL, 2345UL}) {
    std::vector<std::int64_t> numbers(size);
    std::iota(numbers.begin(), numbers.end(), 0);
    std::size_t odd = 0;
    ASSERT_TRUE(database->read([&](store::Tx& tx) {
      return statement.query(tx, {std::int64_t{1}}, numbers,
                             [&odd](const store::Row&) -> Result<void> {
                               ++odd;
                               return {};
                             });
    }));
    EXPECT_EQ(odd, size / 2) << size;
  }
}

}  // namespace
}  // namespace roster::directory
