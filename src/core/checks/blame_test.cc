#include "core/checks/blame.h"

#include <gtest/gtest.h>

#include <set>

#include "base/prng.h"
#include "core/checks/tournament.h"

namespace holdfast {
namespace {

// The links that a tournament of so many nodes measures.
std::vector<MeasuredLink> tournament(std::size_t nodes) {
  std::vector<MeasuredLink> links;
  for (std::uint32_t round = 0; round < rounds_of(nodes); ++round)
    for (const auto& [a, b] : pairs_of_round(nodes, round)) links.push_back({a, b, false});
  return links;
}

TEST(Blame, NothingBadNobodyBlamed) {
  EXPECT_EQ(blame(5, tournament(5)), Blame{});
  EXPECT_EQ(blame(0, {}), Blame{});
}

TEST(Blame, OneNodeOfThreeAndOneLinkOfThree) {
  EXPECT_EQ(blame(3, {{0, 1, true}, {0, 2, false}, {1, 2, true}}), (Blame{{1}, {}}));
  EXPECT_EQ(blame(3, {{0, 1, true}, {0, 2, false}, {1, 2, false}}), (Blame{{}, {{0, 1}}}));
}

TEST(Blame, OfTwoNodesNobodyCanTell) {
  EXPECT_EQ(blame(2, {{0, 1, true}}), (Blame{{}, {{0, 1}}}));
}

// Generated clusters: some nodes bad on all of their links, some single links bad between well
// nodes, and as noise a link of a bad node that was measured well once.
TEST(Blame, BadNodesAndSingleBadLinksAreFoundExactly) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Prng prng(seed);
    const std::size_t nodes = 6 + prng.below(seed % 50 == 0 ? 400 : 40);
    std::vector<MeasuredLink> links = tournament(nodes);
    std::set<std::size_t> bad;
    // A quarter at most: each well node meets far more well ones than bad ones.
    const std::size_t most = nodes <= kRoundsMax + 1 ? nodes / 4 : 3;
    for (std::size_t i = prng.below(most + 1); i > 0; --i) bad.insert(prng.below(nodes));
    std::set<std::size_t> spoiled, forgiven;  // ends of single bad links; nodes with noise
    std::set<std::pair<std::size_t, std::size_t>> bad_links;
    for (MeasuredLink& link : links) {
      link.is_bad = bad.contains(link.a) || bad.contains(link.b);
      if (link.is_bad) {
        const std::size_t node = bad.contains(link.a) ? link.a : link.b;
        if (nodes >= 12 && prng.chance(1, 20) && forgiven.insert(node).second) link.is_bad = false;
      } else if (prng.chance(1, 40) && !spoiled.contains(link.a) && !spoiled.contains(link.b)) {
        link.is_bad = true;
        spoiled.insert({link.a, link.b});
        bad_links.insert({link.a, link.b});
      }
    }
    const Blame found = blame(nodes, links);
    EXPECT_EQ(found.nodes, std::vector(bad.begin(), bad.end())) << "seed " << seed;
    EXPECT_EQ(std::set(found.links.begin(), found.links.end()), bad_links) << "seed " << seed;
  }
}

// Whatever was measured: each bad link has an end that is blamed, or is named itself.
TEST(Blame, EveryBadLinkIsExplained) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Prng prng(seed, 1);
    const std::size_t nodes = 2 + prng.below(12);
    std::vector<MeasuredLink> links;
    for (std::size_t i = prng.below(60); i > 0; --i) {
      const std::size_t a = prng.below(nodes), b = prng.below(nodes);
      if (a != b) links.push_back({a, b, prng.chance(1, 3)});
    }
    const Blame found = blame(nodes, links);
    const std::set<std::size_t> guilty(found.nodes.begin(), found.nodes.end());
    const std::set<std::pair<std::size_t, std::size_t>> named(found.links.begin(),
                                                              found.links.end());
    for (const MeasuredLink& link : links) {
      if (!link.is_bad) continue;
      EXPECT_TRUE(guilty.contains(link.a) || guilty.contains(link.b) ||
                  named.contains(std::minmax(link.a, link.b)))
          << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace holdfast
