#include "sim/ledger.h"

#include <gtest/gtest.h>

#include "base/prng.h"

namespace holdfast::sim {
namespace {

Instant at_s(std::int64_t s) {
  return Instant{} + seconds(s);
}

std::int64_t accelerator_s(const Totals& totals, Part part) {
  return static_cast<std::int64_t>(at(totals, part) / 1'000'000'000);
}

TEST(Ledger, BeginsIdle) {
  const Ledger ledger(at_s(100), 8);
  EXPECT_EQ(accelerator_s(ledger.totals(at_s(110)), Part::kIdle), 80);
  EXPECT_EQ(sum(ledger.totals(at_s(110))), ledger.whole(at_s(110)));
  EXPECT_EQ(goodput_ppm(ledger.totals(at_s(110))), 0u);
}

TEST(Ledger, AFaultTakesWhatCameAfterTheCommittedSnapshot) {
  Ledger ledger(at_s(0), 10);
  const Ledger::Group job = ledger.add_group();
  ledger.move(at_s(0), Ledger::kPool, job, 8);
  ledger.set(at_s(0), job, Part::kUseful);
  ledger.snapshot(at_s(100), job);
  ledger.set(at_s(100), job, Part::kCheckpointStall);
  ledger.set(at_s(101), job, Part::kUseful);
  ledger.commit(job);
  ledger.snapshot(at_s(131), job);  // never committed
  ledger.set(at_s(141), job, Part::kDetection);
  ledger.lose(at_s(141), job);
  ledger.set(at_s(144), job, Part::kRestart);
  const Totals totals = ledger.totals(at_s(150));
  EXPECT_EQ(accelerator_s(totals, Part::kUseful), 8 * 100);
  EXPECT_EQ(accelerator_s(totals, Part::kLostWork), 8 * 40);
  EXPECT_EQ(accelerator_s(totals, Part::kCheckpointStall), 8 * 1);
  EXPECT_EQ(accelerator_s(totals, Part::kDetection), 8 * 3);
  EXPECT_EQ(accelerator_s(totals, Part::kRestart), 8 * 6);
  EXPECT_EQ(accelerator_s(totals, Part::kIdle), 2 * 150);
  EXPECT_EQ(sum(totals), ledger.whole(at_s(150)));
  EXPECT_EQ(goodput_ppm(totals), 800'000'000u / 1200);
}

TEST(Ledger, WhatIsCommittedIsNeverLost) {
  Ledger ledger(at_s(0), 1);
  ledger.set(at_s(0), Ledger::kPool, Part::kUseful);
  ledger.snapshot(at_s(10), Ledger::kPool);
  ledger.commit(Ledger::kPool);
  ledger.lose(at_s(10), Ledger::kPool);
  ledger.lose(at_s(10), Ledger::kPool);
  ledger.commit(Ledger::kPool);  // of nothing
  EXPECT_EQ(accelerator_s(ledger.totals(at_s(10)), Part::kUseful), 10);
  ledger.hold_up(at_s(13), Ledger::kPool, seconds(100));
  EXPECT_EQ(accelerator_s(ledger.totals(at_s(13)), Part::kLostWork), 3);
}

TEST(Ledger, HoldsSixteenThousandAcceleratorsOverMonths) {
  Ledger ledger(at_s(0), 16'384);
  ledger.set(at_s(0), Ledger::kPool, Part::kUseful);
  const std::int64_t end = 54 * 86'400;
  EXPECT_EQ(accelerator_s(ledger.totals(at_s(end)), Part::kUseful), 16'384 * end);
  EXPECT_EQ(goodput_ppm(ledger.totals(at_s(end))), 1'000'000u);
}

// Whatever is called in whatever order, the parts sum to the whole; and a second way of counting,
// interval by interval and accelerator by accelerator, agrees.
TEST(Ledger, PartsSumToTheWholeAlways) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Prng prng(seed);
    constexpr std::uint64_t kAccelerators = 40;
    Instant now{static_cast<std::int64_t>(prng.below(1'000'000))};
    Ledger ledger(now, kAccelerators);
    std::vector<Ledger::Group> groups = {Ledger::kPool};
    Totals useful_and_lost_together{};  // lose() and hold_up() only move between these two
    const auto slot_of = [](Part part) {
      return static_cast<std::size_t>(part == Part::kLostWork ? Part::kUseful : part);
    };
    for (int call = 0; call < 200; ++call) {
      const Duration passed{static_cast<std::int64_t>(prng.below(1'000'000'007))};
      for (const Ledger::Group group : groups)
        useful_and_lost_together[slot_of(ledger.part(group))] +=
            AcceleratorTime{ledger.accelerators(group)} * static_cast<std::uint64_t>(passed.ns);
      now = now + passed;
      const Ledger::Group group = groups[prng.below(groups.size())];
      const Ledger::Group other = groups[prng.below(groups.size())];
      switch (prng.below(8)) {
        case 0:
          groups.push_back(ledger.add_group());
          break;
        case 1:
          ledger.move(now, group, other, prng.below(ledger.accelerators(group) + 1));
          break;
        case 2:
        case 3:
          ledger.set(now, group, static_cast<Part>(prng.below(kParts)));
          break;
        case 4:
          ledger.snapshot(now, group);
          break;
        case 5:
          ledger.commit(group);
          break;
        case 6:
          ledger.lose(now, group);
          break;
        default:
          ledger.hold_up(now, group, Duration{static_cast<std::int64_t>(prng.below(1u << 31))});
      }
      Totals totals = ledger.totals(now);
      ASSERT_EQ(sum(totals), ledger.whole(now)) << "seed " << seed << " call " << call;
      const AcceleratorTime lost = at(totals, Part::kLostWork);
      totals[static_cast<std::size_t>(Part::kUseful)] += lost;
      totals[static_cast<std::size_t>(Part::kLostWork)] = 0;
      ASSERT_EQ(totals, useful_and_lost_together) << "seed " << seed << " call " << call;
    }
  }
}

}  // namespace
}  // namespace holdfast::sim
