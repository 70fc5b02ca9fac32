#include "sim/expectation.h"

#include <gtest/gtest.h>

namespace holdfast::sim {
namespace {

TEST(Expectation, NothingExpectedNothingUnmet) {
  EXPECT_TRUE(unmet_expectations({}, {}).empty());
}

TEST(Expectation, EachIsLookedAt) {
  Scenario scenario;
  scenario.expect = {990, 1, 0, 2, 0, false, JobState::kRunning, CauseClass::kHost, seconds(3)};
  EXPECT_EQ(unmet_expectations(scenario, {}).size(), 6u);  // all but unfinished and breaker

  Outcome good;
  good.totals[static_cast<std::size_t>(Part::kUseful)] = 995;
  good.totals[static_cast<std::size_t>(Part::kRestart)] = 5;
  good.incidents.push_back({.cause = CauseClass::kHost, .state = IncidentState::kRecovered});
  good.machines_replaced = 2;
  good.jobs.push_back({.state = JobState::kRunning});
  good.first_fault_at = Instant{} + seconds(10);
  good.last_decision_at = Instant{} + seconds(13);
  EXPECT_TRUE(unmet_expectations(scenario, good).empty());

  Outcome bad = good;
  bad.breaker_opened = 1;
  bad.incidents[0].state = IncidentState::kOpen;
  bad.last_decision_at = Instant{} + milliseconds(13'001);
  const auto unmet = unmet_expectations(scenario, bad);
  ASSERT_EQ(unmet.size(), 3u);
  EXPECT_EQ(unmet[0].text, "incidents_unfinished: expected 0, found 1");
  EXPECT_EQ(unmet[2].text, "decided_within: expected 3000 ms, found 3001 ms");
}

}  // namespace
}  // namespace holdfast::sim
