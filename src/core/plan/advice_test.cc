#include "core/plan/advice.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace holdfast {
namespace {

constexpr double kHour = 3600;
constexpr double kDay = 24 * kHour;

// Llama 3's rate, ByteRobust's stall.
PlanInputs llama3() {
  PlanInputs inputs;
  inputs.nodes = 2048;
  inputs.node_mtbf_s = 1000 * kDay / 3.79;
  inputs.stall_s = 0.02;
  inputs.write_s = 10;
  inputs.restart_s = 60;
  inputs.repair_s = 14 * kHour;
  return inputs;
}

TEST(Advice, Llama3) {
  const Advice advice = advise(llama3());
  EXPECT_NEAR(advice.job_mtbf_s / kHour, 3.09, 0.01);
  EXPECT_NEAR(advice.young_s, 21.1, 0.1);  // sqrt(2 x 0.02 s x 11,130 s)
  EXPECT_NEAR(advice.interval_s, advice.daly_s, 1e-9);
  EXPECT_NEAR(advice.away, 4.5, 0.05);
  EXPECT_EQ(advice.spares_p99, 10u);  // of Poisson 4.5
  // P(13 away) is 0.05 %, more than the one node in 2,048 that the 13th spare is; P(14) is less.
  EXPECT_EQ(advice.spares, 13u);
  EXPECT_GT(advice.goodput, 0.98);
  EXPECT_NEAR(advice.goodput, advice.goodput_meta, 0.001);
}

TEST(Advice, TheIntervalIsTheBestOfTheCurve) {
  const Advice advice = advise(llama3());
  const auto best = std::ranges::max_element(advice.curve, {}, &PlanPoint::goodput);
  EXPECT_NEAR(best->interval_s / advice.interval_s, 1, 0.1);
  EXPECT_LT(advice.interval_least_s, advice.interval_s);
  EXPECT_GT(advice.interval_most_s, advice.interval_s);
}

TEST(Advice, NeverMoreOftenThanACheckpointIsWritten) {
  PlanInputs inputs = llama3();
  inputs.write_s = 120;
  EXPECT_EQ(advise(inputs).interval_s, 120);
}

TEST(Advice, WhatAnImprovementIsWorth) {
  const PlanInputs inputs = llama3();
  const Advice advice = advise(inputs);
  // 10 s less of each of 720 h / 3.09 h faults, on 16,384 accelerators.
  EXPECT_NEAR(advice.restart_faster.accelerator_hours, 720 / 3.09 * 10 / 3600 * 16'384, 200);
  EXPECT_GT(advice.one_more_spare.accelerator_hours, 0);
  EXPECT_LT(advice.one_spare_less.accelerator_hours, 0);
  EXPECT_GT(-advice.one_spare_less.accelerator_hours, advice.one_more_spare.accelerator_hours);
  EXPECT_EQ(advice.one_more_spare.costs, 8 * 720);
  EXPECT_LT(advice.one_more_spare.accelerator_hours, advice.one_more_spare.costs);
  EXPECT_GT(-advice.one_spare_less.accelerator_hours, -advice.one_spare_less.costs);
  EXPECT_GT(advice.stall_halved.accelerator_hours, 0);
  EXPECT_GT(advice.repair_halved.accelerator_hours, 0);
}

TEST(Advice, OneNode) {
  PlanInputs inputs = llama3();
  inputs.nodes = 1;
  const Advice advice = advise(inputs);
  EXPECT_EQ(advice.spares, 0u);
  EXPECT_GT(advice.goodput, 0.99);
}

}  // namespace
}  // namespace holdfast
