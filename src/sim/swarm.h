#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/outcome.h"
#include "sim/run.h"
#include "sim/scenario.h"

namespace holdfast::sim {

// A world of which everything is drawn from the seed: topology, jobs, knobs, what goes wrong and
// when, how slow everything is, when the control plane dies. Small, so that the seldom is frequent.
// First anything may happen; then nothing new does, and everything must go on (run.h: calm_from).
struct Drawn {
  Scenario scenario;
  RunOptions options;
};
[[nodiscard]] Drawn draw_world(std::uint64_t seed);

// One seed with all checkers. A violation's `repeat` is the line that shows it again.
[[nodiscard]] Outcome run_seed(std::uint64_t seed);

// What is needed to break the same property as `seed` does: with as few faults and as little else
// as leaving out one thing at a time can find. nullopt: the seed breaks none.
struct Shrunk {
  Drawn world;
  Outcome outcome;
  std::vector<std::string> faults;  // that are left, a line each
  std::uint32_t runs = 0;           // that it took
};
[[nodiscard]] std::optional<Shrunk> shrink(std::uint64_t seed);

// Seeds `first` to `first + count - 1`.
struct SwarmResult {
  std::uint64_t seeds = 0, events = 0, faults = 0, incidents = 0, recovered = 0, crashes = 0,
                replaced = 0, breakers = 0, rolled_back = 0;
  std::uint64_t jobs_succeeded = 0, jobs_failed = 0, jobs_stopped = 0, jobs_open = 0;
  Duration simulated;
  std::uint64_t digest = 0;  // of all outcomes, in the order of their seeds
  std::vector<Outcome> failed;

  // REQUIRES: in the order of the seeds.
  void add(Outcome outcome);
};
// `on_seed` is called after each one; false: enough.
[[nodiscard]] SwarmResult swarm(std::uint64_t first, std::uint64_t count,
                                const std::function<bool(const Outcome&)>& on_seed = {});

}  // namespace holdfast::sim
