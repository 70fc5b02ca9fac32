#include "sim/swarm.h"

#include <cstdio>
#include <cstdlib>
#include <set>

#include <gtest/gtest.h>

namespace holdfast::sim {
namespace {

constexpr std::uint64_t kSeeds = 600;

std::string shown(const Outcome& outcome) {
  std::string text;
  for (const Violation& violation : outcome.violations)
    text += violation.checker + " at " + std::to_string(violation.at.ns / 1'000'000) +
            " ms: " + violation.text + "\n  " + violation.repeat + "\n";
  if (const auto shrunk = shrink(outcome.seed)) {
    text += "  " + std::to_string(shrunk->runs) + " runs later, all that it takes:\n";
    for (const std::string& fault : shrunk->faults) text += "    " + fault + "\n";
  }
  return text;
}

TEST(Swarm, EverythingHoldsWhateverTheSeed) {
  // HOLDFAST_SWARM=5000 tries more; tools/planted_bugs.py does.
  const char* more = std::getenv("HOLDFAST_SWARM");
  const std::uint64_t seeds = more == nullptr ? kSeeds : std::strtoull(more, nullptr, 10);
  const SwarmResult all =
      swarm(1, seeds, [](const Outcome& outcome) { return outcome.violations.empty(); });
  for (const Outcome& outcome : all.failed) ADD_FAILURE() << shown(outcome);
  std::printf(
      "%llu seeds, %.0f h: %llu events, %llu faults, %llu incidents (%llu recovered), %llu "
      "machines "
      "taken out, %llu crashes, %llu breakers, %llu updates rolled back; jobs: %llu succeeded, "
      "%llu failed, %llu stopped, "
      "%llu open\n",
      static_cast<unsigned long long>(all.seeds), all.simulated.s() / 3600,
      static_cast<unsigned long long>(all.events), static_cast<unsigned long long>(all.faults),
      static_cast<unsigned long long>(all.incidents),
      static_cast<unsigned long long>(all.recovered), static_cast<unsigned long long>(all.replaced),
      static_cast<unsigned long long>(all.crashes), static_cast<unsigned long long>(all.breakers),
      static_cast<unsigned long long>(all.rolled_back),
      static_cast<unsigned long long>(all.jobs_succeeded),
      static_cast<unsigned long long>(all.jobs_failed),
      static_cast<unsigned long long>(all.jobs_stopped),
      static_cast<unsigned long long>(all.jobs_open));
  if (!all.failed.empty()) return;
  // Worlds in which nothing happens prove nothing.
  EXPECT_GT(all.recovered, seeds / 2);
  EXPECT_GT(all.crashes, seeds / 4);
  EXPECT_GT(all.replaced, seeds / 2);
  EXPECT_GT(all.breakers, seeds / 50);
  EXPECT_GT(all.rolled_back, seeds / 100);
  EXPECT_GT(all.jobs_succeeded, seeds / 2);
  EXPECT_GT(all.jobs_failed, 0u);
  EXPECT_GT(all.jobs_stopped, seeds / 10);
}

TEST(Swarm, ASeedIsARun) {
  std::set<std::uint64_t> digests;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome once = run_seed(seed), again = run_seed(seed);
    EXPECT_EQ(once.digest, again.digest) << seed;
    EXPECT_EQ(once.last_draw, again.last_draw) << seed;
    EXPECT_EQ(once.totals, again.totals) << seed;
    digests.insert(once.digest);
  }
  EXPECT_EQ(digests.size(), 20u) << "and another seed is another one";
}

TEST(Swarm, LeavingOutBeatsChangesNoDecision) {
  std::uint64_t events = 0, events_in_full = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Drawn world = draw_world(seed);
    world.options.coalesce = true;
    const Outcome less = run(world.scenario, seed, world.options);
    world.options.coalesce = false;
    const Outcome full = run(world.scenario, seed, world.options);
    EXPECT_EQ(less.digest, full.digest) << "seed " << seed;
    EXPECT_EQ(less.last_draw, full.last_draw) << "seed " << seed;
    EXPECT_EQ(less.totals, full.totals) << "seed " << seed;
    events += less.events;
    events_in_full += full.events;
  }
  EXPECT_LT(events, events_in_full / 2);
}

}  // namespace
}  // namespace holdfast::sim
