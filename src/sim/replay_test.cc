#include "sim/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/codec.h"
#include "sim/swarm.h"

namespace holdfast::sim {
namespace {

using testing::HasSubstr;

// The log that a control plane wrote in a simulated world.
std::vector<LogEntry> log_of(std::uint64_t seed) {
  std::vector<LogEntry> log;
  Drawn world = draw_world(seed);
  world.options.chaos = {};  // no write is lost
  world.options.on_entry = [&](const ServerMachine::Entry& entry) {
    log.push_back({log.size() + 1, entry.at, encode(entry.event), entry.effects_digest});
  };
  (void)run(world.scenario, seed, world.options);
  return log;
}

TEST(Replay, ALogLeadsToWhatItLedTo) {
  const std::vector<LogEntry> log = log_of(3);
  std::uint64_t steps = 0, audits = 0, starts = 0;
  const auto replayed = replay({}, log, [&](const ReplayStep& step) {
    EXPECT_EQ(step.seq, ++steps);
    audits += step.audits.size();
    for (const auto& [word, times] : step.effects)
      if (word == "start_ranks") starts += times;
  });
  ASSERT_TRUE(replayed.ok());
  EXPECT_EQ(replayed->steps, log.size());
  EXPECT_EQ(replayed->differing, 0u);
  EXPECT_GT(audits, 0u);
  EXPECT_GT(starts, 0u);
}

TEST(Replay, AnEntryThatLeadsElsewhereIsNamedAndTheRestGoesOn) {
  std::vector<LogEntry> log = log_of(3);
  log[4].effects_digest ^= 1;
  std::vector<std::uint64_t> differing;
  const auto replayed = replay({}, log, [&](const ReplayStep& step) {
    if (!step.is_same) differing.push_back(step.seq);
  });
  ASSERT_TRUE(replayed.ok());
  EXPECT_THAT(differing, testing::ElementsAre(5u));
  EXPECT_EQ(replayed->steps, log.size());
}

TEST(Replay, AnEntryThatCannotBeReadIsAnError) {
  std::vector<LogEntry> log = log_of(3);
  log[2].event = "{\"eclipse\":{}}";
  const auto replayed = replay({}, log, {});
  ASSERT_FALSE(replayed.ok());
  EXPECT_THAT(replayed.error().text(), HasSubstr("entry 3: "));
}

}  // namespace
}  // namespace holdfast::sim
