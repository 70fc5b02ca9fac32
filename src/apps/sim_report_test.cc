#include "apps/sim_report.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/prng.h"

namespace holdfast {
namespace {

using sim::Part;

// What a run of some days with `incidents` faults may look like.
sim::Outcome made_up(std::uint32_t incidents, Duration length) {
  sim::Outcome outcome;
  outcome.scenario = "made-up";
  outcome.seed = 7;
  outcome.end = outcome.start + length;
  Prng prng(7);
  sim::Ledger ledger(outcome.start, 16'480);
  const auto job = ledger.add_group();
  ledger.move(outcome.start, sim::Ledger::kPool, job, 16'384);
  ledger.set(outcome.start, job, Part::kUseful);
  Instant at = outcome.start;
  const Duration gap = length / (incidents + 1);
  const char* const kFaults[] = {"gpu_lost", "host_maintenance", "cable_hang", "software_bug"};
  const auto sample = [&](Instant until) {
    const Duration every = length / 500;
    while (outcome.samples.empty() || outcome.samples.back().at + every <= until) {
      const Instant next =
          outcome.samples.empty() ? outcome.start : outcome.samples.back().at + every;
      outcome.samples.push_back({next, ledger.totals(std::max(next, at)), 2060,
                                 static_cast<std::uint32_t>(12 - prng.below(5))});
    }
  };
  for (std::uint32_t i = 1; i <= incidents; ++i) {
    const Instant fault =
        at + gap / 2 +
        Duration{static_cast<std::int64_t>(prng.next() % static_cast<std::uint64_t>(gap.ns / 3))};
    sample(fault);
    ledger.snapshot(fault - seconds(25), job);
    ledger.commit(job);
    ledger.set(fault, job, Part::kDetection);
    ledger.lose(fault, job);
    sim::IncidentTrace trace{.id = {i}, .job = {1}, .fault = kFaults[prng.below(4)]};
    trace.fault_at = fault;
    trace.cause = CauseClass::kAccelerator;
    trace.action = Action::kReplaceNode;
    trace.summary = "n17: xid 79 on 0000:b9:00: <fallen off the bus>";
    trace.rounds = 1;
    trace.steps_lost = prng.below(9);
    const Part kParts[] = {Part::kPlacement, Part::kPlacement, Part::kPlacement,
                           Part::kRestart,   Part::kRestore,   Part::kUseful};
    const std::int64_t kMs[] = {10'000, 900, 40, 4000, 25'000, 12'000};
    Instant now = fault;
    for (std::size_t phase = 0; phase < kPhases; ++phase) {
      now = now + milliseconds(kMs[phase] / 2 + static_cast<std::int64_t>(prng.below(
                                                    static_cast<std::uint64_t>(kMs[phase]))));
      trace.phases[phase] = now;
      ledger.set(now, job, kParts[phase]);
    }
    trace.state = IncidentState::kRecovered;
    if (i == incidents) {
      trace.state = IncidentState::kOpen;
      trace.phases[5] = trace.phases[4] = std::nullopt;
    }
    outcome.incidents.push_back(trace);
    at = now;
  }
  sample(outcome.end);
  outcome.totals = ledger.totals(outcome.end);
  outcome.whole = ledger.whole(outcome.end);
  outcome.jobs.push_back({.id = {1}, .name = "pretrain", .state = JobState::kRunning, .step = 9});
  return outcome;
}

sim::Scenario scenario_of() {
  sim::Scenario scenario;
  scenario.name = "made-up";
  scenario.about = "A made-up run & its <faults>.";
  scenario.topology = {2048, 12, 8, 2, 16, 0};
  return scenario;
}

void keep(const std::string& name, const std::string& page) {
  // To look at: HF_REPORT_FOLDER=folder apps_test --gtest_filter='SimReport.*'
  if (const char* folder = std::getenv("HF_REPORT_FOLDER"))
    std::ofstream(std::string(folder) + "/" + name) << page;
}

TEST(SimReport, StandsOnItsOwn) {
  const std::string page = sim_report(scenario_of(), made_up(420, seconds(54 * 86'400)));
  keep("many.html", page);
  EXPECT_EQ(page.find("http"), page.npos);  // nothing is fetched
  EXPECT_EQ(page.find("<script"), page.npos);
  EXPECT_EQ(page.find("<faults>"), page.npos);  // escaped
  EXPECT_NE(page.find("The 40 longest of 420"), page.npos);
  for (std::size_t part = 0; part < sim::kParts; ++part)
    EXPECT_NE(page.find(">" + std::string(part_name(static_cast<Part>(part))) + "</td>"),
              page.npos);
}

TEST(SimReport, FewIncidentsAndViolations) {
  sim::Outcome outcome = made_up(5, minutes(20));
  outcome.violations.push_back({"two_attempts_write", "n3 and n4 both wrote step 9",
                                outcome.start + seconds(61), "holdfast sim run x --seed 7"});
  const std::string page = sim_report(scenario_of(), outcome);
  keep("few.html", page);
  EXPECT_NE(page.find("1 property did not hold"), page.npos);
  EXPECT_NE(page.find("two_attempts_write"), page.npos);
  EXPECT_NE(page.find(", open"), page.npos);
}

TEST(SimReport, NothingHappened) {
  const std::string page = sim_report(scenario_of(), sim::Outcome{});
  keep("nothing.html", page);
  EXPECT_NE(page.find("No job wanted an accelerator"), page.npos);
}

TEST(SimReport, Numbers) {
  EXPECT_EQ(number_text(1234567), "1,234,567");
  EXPECT_EQ(number_text(123), "123");
  EXPECT_EQ(number_text(12.34), "12.3");
  EXPECT_EQ(number_text(0.0412), "0.041");
  EXPECT_EQ(percent_text(0.99312), "99.31 %");
  EXPECT_EQ(percent_text(0.9999412), "99.994 %");
  EXPECT_EQ(percent_text(0.5), "50.0 %");
  EXPECT_EQ(percent_text(1), "100 %");
}

}  // namespace
}  // namespace holdfast
