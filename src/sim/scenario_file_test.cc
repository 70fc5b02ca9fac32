#include "sim/scenario_file.h"

#include <gtest/gtest.h>

#include <string>

namespace holdfast::sim {
namespace {

constexpr const char* kWhole = R"(name: everything
about: One of each key.
duration: 54d
topology: {nodes: 64, spares: 2, accelerators_per_node: 8, nodes_per_rack: 4, racks_per_switch: 8,
           machines_max: 90, groups: 2}
jobs:
  - name: big
    nodes: {min: 30, max: 40}
    ranks_per_node: 8
    steps: 100000
    step_time: 1.5s
    checkpoint: {interval: 10min, stall: 20ms, write: 5s}
    retry: {attempts_without_progress_max: 2}
    hang: {stall_min: 1min, stall_factor: 7}
  - {name: small, nodes: 1, count: 3, submitted_at: 2h}
faults:
  - name: gpu
    per_billion_hours: 6970
    of: rank
    shows: {as: kernel_line, xid: 79, signal: 9, cause: accelerator, after: [1s, 10s]}
  - {name: psu, per_billion_hours: 5, of: rack, shows: {as: node_silent, cause: host}}
weak: [{name: lemons, per_mille: 50, factor: 19, from: 1d, until: 2d}]
planned:
  - {at: 1min, of: rank, first: 3, count: 2, job: big, shows: {as: rank_exit, signal: 11}}
  - {at: 2min, name: disk, of: cluster, shows: {as: disk_full, lasts: 5min}}
  - {at: 3min, of: rank, first: 0, shows: {as: rank_error, recurs_after: [2s, 3s]}}
spot: {reclaims_per_billion_hours: 1000, notice: 2min, replace_on_notice: false}
costs:
  restore: [2s, 3s]
  replacement: 10min
  replacement_bad_per_mille: 20
  replacement_bad_shows: {as: kernel_line, xid: 48, cause: accelerator}
network: {delay: [100us, 1ms], loss_per_million: 3, clock_drift_ppm_max: 100}
policy: {breaker_percent: 60, operator_changes_cluster_every: 2min,
         operator_closes_breaker_after: 1min}
expect: {incidents: 3, breaker_opened: false, job_state: running, first_verdict: host,
         decided_within: 3s, goodput_per_mille_min: 990}
)";

TEST(ScenarioFile, EveryKeyArrives) {
  const auto parsed = parse_scenario(kWhole, "s.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.error().text();
  Scenario s;
  s.name = "everything";
  s.about = "One of each key.";
  s.duration = seconds(54 * 86'400);
  s.topology = {64, 2, 8, 4, 8, 90};
  JobShape big;
  big.name = "big";
  big.nodes_min = 30;
  big.nodes_max = 40;
  big.ranks_per_node = 8;
  big.steps = 100'000;
  big.step_time = milliseconds(1500);
  big.checkpoint_interval = minutes(10);
  big.checkpoint_stall = milliseconds(20);
  big.checkpoint_write = seconds(5);
  big.retry.attempts_without_progress_max = 2;
  big.hang = {minutes(1), 7};
  JobShape small;
  small.name = "small";
  small.count = 3;
  small.submitted_at = minutes(120);
  s.jobs = {big, small};
  Manifestation gpu;
  gpu.symptom = Symptom::kKernelLine;
  gpu.cause = CauseClass::kAccelerator;
  gpu.xid = 79;
  gpu.signal = 9;
  gpu.shows_after = {seconds(1), seconds(10)};
  Manifestation silent;
  silent.symptom = Symptom::kNodeSilent;
  silent.cause = CauseClass::kHost;
  s.faults = {{"gpu", 6970, Extent::kRank, gpu}, {"psu", 5, Extent::kRack, silent}};
  s.weak = {{"lemons", 50, 19, seconds(86'400), seconds(2 * 86'400)}};
  Manifestation killed;
  killed.signal = 11;
  Manifestation full;
  full.symptom = Symptom::kDiskFull;
  full.lasts = minutes(5);
  Manifestation raises;
  raises.symptom = Symptom::kRankError;
  raises.recurs_after = Span{seconds(2), seconds(3)};
  s.planned = {{"", minutes(1), Extent::kRank, 3, 2, "big", killed},
               {"disk", minutes(2), Extent::kCluster, 1, 1, "", full},
               {"", minutes(3), Extent::kRank, 0, 1, "", raises}};
  s.spot = {1000, minutes(2), false};
  s.costs.restore = {seconds(2), seconds(3)};
  s.costs.replacement = {minutes(10), minutes(10)};
  s.costs.replacement_bad_per_mille = 20;
  s.costs.replacement_bad_shows.symptom = Symptom::kKernelLine;
  s.costs.replacement_bad_shows.xid = 48;
  s.costs.replacement_bad_shows.cause = CauseClass::kAccelerator;
  s.network.delay = {Duration{100'000}, milliseconds(1)};
  s.network.loss_per_million = 3;
  s.network.clock_drift_ppm_max = 100;
  s.policy.breaker_percent = 60;
  s.policy.operator_closes_breaker_after = minutes(1);
  s.policy.operator_changes_cluster_every = minutes(2);
  s.topology.groups = 2;
  s.expect.incidents = 3;
  s.expect.breaker_opened = false;
  s.expect.job_state = JobState::kRunning;
  s.expect.first_verdict = CauseClass::kHost;
  s.expect.decided_within = seconds(3);
  s.expect.goodput_per_mille_min = 990;
  EXPECT_EQ(*parsed, s);
}

struct Bad {
  const char* text;
  const char* error;
};

TEST(ScenarioFile, ErrorsNamePlaceFieldValueAndRemedy) {
  const Bad kBad[] = {
      {"name: 'A b'",
       "HF1001: s.yaml:1: name: 'A b' is not allowed; use 1 to 63 of a-z, 0-9, -, _"},
      {"faults:\n- {name: g, per_billion_hour: 1, shows: {as: hang}}",
       "HF1002: s.yaml:2: faults[0].per_billion_hour: no such field; did you mean "
       "per_billion_hours?"},
      {"faults:\n- {name: g, per_billion_hours: 1.5, shows: {as: hang}}",
       "HF1001: s.yaml:2: faults[0].per_billion_hours: '1.5' is not allowed; give a whole number"},
      {"faults:\n- {name: g, shows: {as: hangs}}",
       "HF1001: s.yaml:2: faults[0].shows.as: 'hangs' is not allowed; did you mean hang?"},
      {"faults:\n- {name: g, shows: {xid: 3}}",
       "HF1001: s.yaml:2: faults[0].shows: a map is not allowed; say `as`, how the fault shows "
       "itself"},
      {"faults:\n- name: g\n  shows: {as: hang,\n    xid: 3}",
       "HF1001: s.yaml:4: faults[0].shows.xid: goes with `as: kernel_line`, and the two need each "
       "other"},
      {"planned:\n- {at: 1min, shows: {as: node_freeze}}",
       "HF1001: s.yaml:2: planned[0].shows.lasts: missing; node_freeze comes to an end"},
      {"planned:\n- {at: 1h, shows: {as: hang}}",
       "HF1001: s.yaml:2: planned[0].at: is after the end of the run; lengthen `duration`"},
      {"planned:\n- {at: 1s, of: rank, job: other, shows: {as: hang}}",
       "HF1001: s.yaml:2: planned[0].job: 'other' is none of `jobs`"},
      {"planned:\n- {at: 1s, shows: {as: server_crash}}",
       "HF1001: s.yaml:2: planned[0].shows: server_crash is a fault `of: cluster`"},
      {"planned:\n- {at: 1s, shows: {as: rank_exit}}",
       "HF1001: s.yaml:2: planned[0].shows: a rank_exit needs a signal or an exit_code"},
      {"planned: {at: 1s}",
       "HF1001: s.yaml:1: planned: a map is not allowed; give a list, each item on a line that "
       "begins with `- `"},
      {"costs: {restore: 5}",
       "HF1001: s.yaml:1: costs.restore: '5' is not allowed; write it like 250ms, 1.5s, 10min, 2h "
       "or 54d"},
      {"costs: {restore: [5s]}",
       "HF1001: s.yaml:1: costs.restore: a list is not allowed; give one duration, or [least, "
       "most]"},
      {"costs: {restore: [5s, 1s]}",
       "HF1001: s.yaml:1: costs.restore: the least is more than the most; swap them"},
      {"policy: {silence_max: 100ms}",
       "HF1001: s.yaml:1: policy.silence_max: is not longer than heartbeat_interval; every node "
       "would count as lost"},
      {"policy: {breaker_percent: 0}",
       "HF1001: s.yaml:1: policy.breaker_percent: 0 is not allowed; give 1 to 100"},
      {"weak: [{name: l, per_mille: 1001}]",
       "HF1001: s.yaml:1: weak[0].per_mille: 1001 is not allowed; give 0 to 1000"},
      {"spot: {replace_on_notice: 1}",
       "HF1001: s.yaml:1: spot.replace_on_notice: '1' is not allowed; give true or false"},
      {"expect: {job_state: well}",
       "HF1001: s.yaml:1: expect.job_state: 'well' is not allowed; give one of queued, starting, "
       "running, recovering, stopping, succeeded, failed, stopped"},
  };
  for (const Bad& bad : kBad) {
    const std::string name = std::string(bad.text).starts_with("name") ? "" : "\nname: a";
    const auto parsed = parse_scenario(
        bad.text + name + "\nduration: 10min\ntopology: {nodes: 4}\njobs: [{name: j, nodes: 4}]",
        "s.yaml");
    ASSERT_FALSE(parsed.ok()) << bad.text;
    EXPECT_EQ(parsed.error().text(), bad.error) << bad.text;
  }
}

TEST(ScenarioFile, ErrorsOfTheWhole) {
  const Bad kBad[] = {
      {"name: a\nduration: 1s\ntopology: {nodes: 1}",
       "HF1001: s.yaml:1: jobs: missing; a scenario has name, duration, topology and jobs"},
      {"name: a\nduration: 1s\ntopology: {nodes: 2}\njobs:\n- {name: j, nodes: 3}",
       "HF1001: s.yaml:5: jobs[0].nodes: 3 is not allowed; give 1 to 2"},
      {"name: a\nduration: 0s\ntopology: {nodes: 2}\njobs: [{name: j}]",
       "HF1001: s.yaml:2: duration: must be longer than zero"},
      {"name: a\nduration: 1s\ntopology: {nodes: 0}\njobs: [{name: j}]",
       "HF1001: s.yaml:3: topology.nodes: 0 is not allowed; give 1 to 100000"},
      {"- a",
       "HF1001: s.yaml:1: scenario: a list is not allowed; give `key: value` pairs, with the "
       "keys name, about, duration, topology, jobs, faults, weak, planned, spot, costs, "
       "network, policy, expect"},
      {"a: [[[[[[[[1]]]]]]]]",
       "HF1007: s.yaml:1: nested too deep; a scenario has at most five levels"},
  };
  for (const Bad& bad : kBad) {
    const auto parsed = parse_scenario(bad.text, "s.yaml");
    ASSERT_FALSE(parsed.ok()) << bad.text;
    EXPECT_EQ(parsed.error().text(), bad.error) << bad.text;
  }
}

TEST(ScenarioFile, DurationsAreExact) {
  EXPECT_EQ(*parse_duration("250ms"), milliseconds(250));
  EXPECT_EQ(*parse_duration("1.5s"), milliseconds(1500));
  EXPECT_EQ(*parse_duration("0.000000001s"), Duration{1});
  EXPECT_EQ(*parse_duration("54d"), seconds(54 * 86'400));
  EXPECT_EQ(*parse_duration("1.25h"), minutes(75));
  EXPECT_EQ(*parse_duration("0s"), Duration{});
  for (const char* bad : {"", "5", "s", ".5s", "5.s", "1.2.3s", "-1s", "1 s", "1S", "1e3s", "0.5ns",
                          "0.0000000001s", "99999999999999999999s", "9999999999d", "106752d"})
    EXPECT_FALSE(parse_duration(bad).ok()) << bad;
}

}  // namespace
}  // namespace holdfast::sim
