#include "core/checks/tournament.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace holdfast {
namespace {

using Pair = std::pair<std::size_t, std::size_t>;

TEST(Tournament, EveryTwoMeetOnceAndNobodyIsInTwoPairsOfARound) {
  for (std::size_t nodes = 0; nodes <= kRoundsMax; ++nodes) {
    std::set<Pair> met;
    for (std::uint32_t round = 0; round < rounds_of(nodes); ++round) {
      std::set<std::size_t> busy;
      for (const auto& [a, b] : pairs_of_round(nodes, round)) {
        EXPECT_LT(a, b);
        EXPECT_LT(b, nodes);
        EXPECT_TRUE(busy.insert(a).second && busy.insert(b).second) << nodes;
        EXPECT_TRUE(met.insert({a, b}).second) << nodes;
      }
      EXPECT_EQ(busy.size(), nodes - nodes % 2) << "more than one rests";
    }
    EXPECT_EQ(met.size(), nodes < 2 ? 0 : nodes * (nodes - 1) / 2) << nodes;
  }
}

TEST(Tournament, InALargeSetEachMeetsManyOthersAndTheRoundsAreFew) {
  for (const std::size_t nodes : {17u, 18u, 19u, 100u, 1001u}) {
    EXPECT_EQ(rounds_of(nodes), kRoundsMax);
    std::set<Pair> met;
    std::map<std::size_t, std::size_t> partners;
    for (std::uint32_t round = 0; round < rounds_of(nodes); ++round)
      for (const auto& [a, b] : pairs_of_round(nodes, round)) {
        EXPECT_TRUE(met.insert({a, b}).second);
        ++partners[a];
        ++partners[b];
      }
    EXPECT_EQ(partners.size(), nodes);
    for (const auto& [node, count] : partners) EXPECT_GE(count, kRoundsMax - 1) << node;
  }
}

}  // namespace
}  // namespace holdfast
