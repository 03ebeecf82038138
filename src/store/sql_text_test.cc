#include "store/sql_text.h"

#include <gtest/gtest.h>

namespace roster::store {
namespace {

TEST(NumberParameters, OnlyParametersAreRewritten) {
  struct Case {
    const char* sql;
    const char* numbered;
    int parameters_max;
  };
  const Case cases[] = {
      {"SELECT 1", "SELECT 1", 0},
      {"SELECT $1", "SELECT ?1", 1},
      {"UPDATE t SET a = $2, b = $12 WHERE n = $1", "UPDATE t SET a = ?2, b = ?12 WHERE n = ?1",
       12},
      {"SELECT '$1', $1", "SELECT '$1', ?1", 1},
      {"SELECT 'it''s $2', $1", "SELECT 'it''s $2', ?1", 1},
      {"SELECT \"$2\", [$3], `$4`, $1", "SELECT \"$2\", [$3], `$4`, ?1", 1},
      {"SELECT $1 -- then $2\n, $3", "SELECT ?1 -- then $2\n, ?3", 3},
      {"SELECT $1 -- $2", "SELECT ?1 -- $2", 1},
      {"SELECT $1 /* $2 */, $3", "SELECT ?1 /* $2 */, ?3", 3},
      {"SELECT a$1, $2", "SELECT a$1, ?2", 2},
      {"SELECT $a", "SELECT $a", 0},
      {"SELECT 5-$1", "SELECT 5-?1", 1},
      {"SELECT $1,$2", "SELECT ?1,?2", 2},
      {"SELECT 'open $1", "SELECT 'open $1", 0},
      {"SELECT /* open $1", "SELECT /* open $1", 0},
      {"$", "$", 0},
      {"", "", 0},
  };
  for (const Case& c : cases) {
    const NumberedSql got = number_parameters(c.sql);
    EXPECT_EQ(got.sql, c.numbered);
    EXPECT_EQ(got.parameters_max, c.parameters_max) << c.sql;
  }
}

}  // namespace
}  // namespace roster::store
