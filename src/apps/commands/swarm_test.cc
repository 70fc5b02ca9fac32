#include "apps/commands/swarm.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(Swarm, TheResultDoesNotDependOnTheThreads) {
  std::vector<std::uint64_t> seen;
  const auto one = sim::swarm(1, 6);
  const auto many = swarm_on_threads(1, 6, 3, [&](const sim::Outcome& outcome) {
    seen.push_back(outcome.seed);
    return true;
  });
  EXPECT_EQ(one.digest, many.digest);
  EXPECT_EQ(one.events, many.events);
  EXPECT_EQ(many.seeds, 6u);
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6}));
}

TEST(Swarm, StopsWhenItIsEnough) {
  const auto some =
      swarm_on_threads(1, 1000, 2, [](const sim::Outcome& outcome) { return outcome.seed < 3; });
  EXPECT_EQ(some.seeds, 3u);
}

}  // namespace
}  // namespace holdfast
