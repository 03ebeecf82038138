#include "posix/flatten.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <set>

namespace roster::posix {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Edges = std::map<std::uint64_t, std::vector<std::uint64_t>>;  // group -> parents

ParentsOf parents(const Edges& edges) {
  return [&edges](std::uint64_t group) -> std::span<const std::uint64_t> {
    const auto found = edges.find(group);
    if (found == edges.end()) return {};
    return found->second;
  };
}

EffectiveGroups flatten(std::vector<std::uint64_t> direct, const Edges& edges,
                        std::size_t groups_max = kEffectiveGroupsMax,
                        std::size_t nesting_max = kNestingMax) {
  return effective_groups(direct, parents(edges), groups_max, nesting_max);
}

TEST(FlattenTest, FlatNestedAndDiamond) {
  EXPECT_THAT(flatten({}, {}).groups, IsEmpty());
  EXPECT_THAT(flatten({3, 1, 2, 3}, {}).groups, ElementsAre(1, 2, 3));
  EXPECT_THAT(flatten({1}, {{1, {5}}, {5, {9}}}).groups, ElementsAre(1, 5, 9));
  EXPECT_THAT(flatten({1}, {{1, {2, 3}}, {2, {4}}, {3, {4}}}).groups, ElementsAre(1, 2, 3, 4));
  // Only upwards: being in 5 does not bring 5's members.
  EXPECT_THAT(flatten({5}, {{1, {5}}}).groups, ElementsAre(5));
}

// An endless walk would stop every publication on the node.
TEST(FlattenTest, CyclesEnd) {
  EXPECT_THAT(flatten({1}, {{1, {1}}}).groups, ElementsAre(1));
  const EffectiveGroups cycle = flatten({2}, {{1, {2}}, {2, {3}}, {3, {1}}});
  EXPECT_THAT(cycle.groups, ElementsAre(1, 2, 3));
  EXPECT_TRUE(cycle.complete);
}

TEST(FlattenTest, LimitsLeaveOutTheFarthestAndSaySo) {
  const Edges chain = {{9, {8}}, {8, {7}}, {7, {6}}};
  EffectiveGroups out = flatten({9}, chain, 2);
  EXPECT_THAT(out.groups, ElementsAre(8, 9));
  EXPECT_FALSE(out.complete);
  out = flatten({9}, chain, 4);
  EXPECT_THAT(out.groups, ElementsAre(6, 7, 8, 9));
  EXPECT_TRUE(out.complete);
  out = flatten({9}, chain, 100, 2);
  EXPECT_THAT(out.groups, ElementsAre(7, 8, 9));
  EXPECT_FALSE(out.complete);
  out = flatten({9}, chain, 100, 3);
  EXPECT_THAT(out.groups, ElementsAre(6, 7, 8, 9));
  EXPECT_TRUE(out.complete);
  // A cycle at the deepest level is nothing new.
  out = flatten({9}, {{9, {8}}, {8, {9}}}, 100, 1);
  EXPECT_TRUE(out.complete);
}

TEST(FlattenTest, ALongChainNeedsNoStack) {
  Edges chain;
  for (std::uint64_t i = 0; i < 60'000; ++i) chain[i] = {i + 1};
  EXPECT_EQ(flatten({0}, chain, kEffectiveGroupsMax, 1'000'000).groups.size(), 60'001U);
  EXPECT_EQ(flatten({0}, chain).groups.size(), kNestingMax + 1);
}

// Against the definition: repeat "add all parents" until nothing changes.
TEST(FlattenTest, RandomGraphsAgreeWithTheDefinition) {
  std::mt19937 draw(20261121);
  for (int round = 0; round < 500; ++round) {
    const std::uint64_t nodes = 1 + draw() % 20;
    Edges edges;
    for (std::uint64_t i = draw() % 40; i > 0; --i) edges[draw() % nodes].push_back(draw() % nodes);
    const std::vector<std::uint64_t> direct = {draw() % nodes, draw() % nodes};
    std::set<std::uint64_t> expected(direct.begin(), direct.end());
    for (std::size_t before = 0; before != expected.size();) {
      before = expected.size();
      for (const std::uint64_t group : std::vector(expected.begin(), expected.end())) {
        if (edges.contains(group)) expected.insert(edges[group].begin(), edges[group].end());
      }
    }
    const EffectiveGroups out = flatten(direct, edges);
    EXPECT_TRUE(out.complete);
    EXPECT_EQ(out.groups, std::vector(expected.begin(), expected.end())) << round;
  }
}

}  // namespace
}  // namespace roster::posix
