#include "posix/claims.h"

#include <gtest/gtest.h>

namespace roster::posix {
namespace {

TEST(ClaimsTest, TheFirstHasIt) {
  Claims claims;
  EXPECT_EQ(claims.name("alice", 0), std::nullopt);
  EXPECT_EQ(claims.name("bob", 1), std::nullopt);
  EXPECT_EQ(claims.name("alice", 2), 0U);
  EXPECT_EQ(claims.number(1000, 3), std::nullopt);
  EXPECT_EQ(claims.number(1000, 4), 3U);
  EXPECT_EQ(claims.key("alice", 5), std::nullopt) << "a key is no name";
  EXPECT_EQ(claims.key("alice", 6), 5U);
  EXPECT_EQ(claims.external_id("E-1", "okta", 7), std::nullopt);
  EXPECT_EQ(claims.external_id("E-1", "entra", 8), std::nullopt) << "each client has its own";
  EXPECT_EQ(claims.external_id("E-1", "", 9), 7U) << "nobody's is everybody's";
  EXPECT_EQ(claims.external_id("E-2", "", 10), std::nullopt);
  EXPECT_EQ(claims.external_id("E-2", "okta", 11), 10U);
}

TEST(ClaimsTest, HomesDoNotLieInEachOther) {
  Claims claims;
  EXPECT_EQ(claims.home("/home/alice", 0), std::nullopt);
  EXPECT_EQ(claims.home("/home/alice", 1), 0U);
  EXPECT_EQ(claims.home("/home/alice/data", 1), 0U);
  EXPECT_EQ(claims.home("/home", 1), 0U);
  // Neighbours, also those between "/home/alice" and "/home/alice/" in the order of bytes.
  EXPECT_EQ(claims.home("/home/alice-b", 2), std::nullopt);
  EXPECT_EQ(claims.home("/home/alice.c", 3), std::nullopt);
  EXPECT_EQ(claims.home("/home/alice2", 4), std::nullopt);
  EXPECT_EQ(claims.home("/home/alice2/x/y", 5), 4U);
  EXPECT_EQ(claims.home("/data/x/y", 6), std::nullopt);
  EXPECT_EQ(claims.home("/data/x", 7), 6U);
}

}  // namespace
}  // namespace roster::posix
