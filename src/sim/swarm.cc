#include "sim/swarm.h"

#include <algorithm>

#include "base/digest.h"
#include "base/prng.h"
#include "sim/chance.h"

namespace holdfast::sim {
namespace {

// Draws the whole of a world. Times are in ms here: everything is quick.
class Painter {
 public:
  explicit Painter(std::uint64_t seed) : prng_(seed, 0x5EED) {}

  Drawn paint(std::uint64_t seed) {
    scenario_.name = "swarm-" + std::to_string(seed);
    paint_topology();
    paint_jobs();
    paint_costs();
    paint_network();
    paint_policy();
    paint_chaos();
    const Duration stormy = between(60'000, 240'000);
    options_.calm_from = stormy + seconds(90);  // what lasts has ended by then
    paint_faults(stormy);
    scenario_.policy.lifecycle_scripts = one_in(2);
    // Two batches forward and two back, each with reboots that may take minutes.
    if (scenario_.policy.operator_changes_cluster_every)
      options_.settles_within = options_.settles_within + minutes(20);
    options_.thorough = true;
    options_.coalesce = one_in(2);
    if (one_in(3)) {
      options_.chaos.no_capacity_per_mille = 100 + below(900);
      // The last try may have been just before, and the next one is up to ten minutes later.
      options_.settles_within = options_.settles_within + minutes(10);
    }
    scenario_.duration = options_.calm_from + options_.settles_within;
    return {scenario_, options_};
  }

 private:
  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>(prng_.below(bound));
  }
  bool one_in(std::uint32_t n) { return below(n) == 0; }
  Duration between(std::int64_t least_ms, std::int64_t most_ms) {
    return draw(prng_, {milliseconds(least_ms), milliseconds(most_ms)});
  }
  Span span(std::int64_t least_ms, std::int64_t most_ms) {
    const Duration least = between(least_ms, most_ms);
    return {least, least + between(0, most_ms)};
  }

  void paint_topology() {
    Topology& topology = scenario_.topology;
    topology.nodes = 1 + below(one_in(4) ? 24 : 6);
    topology.spares = below(4);
    if (one_in(3)) topology.groups = 1 + below(std::min(3u, topology.nodes));
    topology.accelerators_per_node = 1 + below(8);
    topology.nodes_per_rack = 1 + below(4);
    topology.racks_per_switch = 1 + below(3);
    if (one_in(3)) topology.machines_max = topology.nodes + topology.spares + below(4);
  }

  void paint_jobs() {
    std::uint32_t left = scenario_.topology.nodes;
    const std::uint32_t jobs = 1 + below(3);
    for (std::uint32_t i = 0; i < jobs; ++i) {
      JobShape shape;
      shape.name = "job" + std::to_string(i + 1);
      shape.nodes_max = 1 + below(one_in(5) ? scenario_.topology.nodes : std::max(1u, left));
      left -= std::min(left, shape.nodes_max);
      shape.nodes_min = one_in(2) ? shape.nodes_max : 1 + below(shape.nodes_max);
      shape.ranks_per_node = 1 + below(3);
      if (scenario_.topology.groups > 1 && one_in(3))
        shape.group = 1 + below(scenario_.topology.groups);
      shape.allow_drifted = one_in(2);
      shape.submitted_at = between(0, 20'000);
      shape.step_time = between(100, 2000);
      shape.steps = one_in(4) ? 0 : 50 + below(400);
      shape.checkpoint_interval = between(2000, 20'000);
      shape.checkpoint_stall = between(0, 500);
      shape.checkpoint_write = between(0, 3000);
      shape.hang.stall_min = between(5000, 20'000);
      shape.hang.stall_factor = 5 + below(6);
      scenario_.jobs.push_back(shape);
    }
  }

  void paint_costs() {
    Costs& costs = scenario_.costs;
    costs.drain = span(1, 300);
    costs.place = span(0, 20);
    costs.process_start = span(10, 1000);
    costs.process_start_cold = span(100, 5000);
    costs.rendezvous = span(1, 1000);
    costs.restore = span(1, 2000);
    costs.first_step = span(0, 1000);
    costs.replacement = span(300, 20'000);
    costs.replacement_fails_per_mille = one_in(2) ? 0 : below(200);
    costs.replacement_bad_per_mille = one_in(2) ? 0 : below(200);
    costs.replacement_bad_shows = {.symptom = Symptom::kKernelLine,
                                   .cause = CauseClass::kAccelerator,
                                   .xid = 79,
                                   .signal = 9,
                                   .recurs_after = Span{seconds(1), seconds(20)}};
    costs.server_restart = span(100, 4000);
  }

  void paint_network() {
    Network& network = scenario_.network;
    network.delay = span(0, one_in(3) ? 50 : 5);
    network.loss_per_million = one_in(2) ? 0 : below(20'000);
    network.slow_links_per_mille = one_in(2) ? 0 : below(300);
    network.slow_factor = 2 + below(5);
    network.clock_drift_ppm_max = one_in(2) ? 0 : below(500);
  }

  void paint_policy() {
    Policy& policy = scenario_.policy;
    policy.breaker_percent = 30 + below(50);
    policy.breaker_window = between(3000, 20'000);
    policy.heartbeat_interval = between(250, 1000);
    policy.silence_max = std::max(milliseconds(2000), policy.heartbeat_interval * 4);
    policy.operator_closes_breaker_after = between(5000, 30'000);
    if (one_in(2)) policy.operator_adds_node_after = between(10'000, 40'000);
    policy.deep_checks = one_in(3);
    if (one_in(3)) policy.operator_changes_cluster_every = between(5000, 40'000);
    scenario_.costs.check_step = span(1, 2000);
    scenario_.costs.check_finds_per_mille = below(1001);
  }

  void paint_chaos() {
    Chaos& chaos = options_.chaos;
    if (one_in(2)) chaos.crash_per_million = below(one_in(4) ? 50'000 : 5000);
    chaos.batch_lost_per_cent = below(101);
    if (one_in(3)) chaos.stuck_per_million = below(10'000);
    if (one_in(2)) chaos.deaf_per_million = below(1'000'000);
    if (one_in(2)) chaos.start_fails_per_million = below(3000);
    if (one_in(2)) chaos.slow_start_per_million = below(30'000);
    chaos.tail_lost_per_cent = below(101);
    if (one_in(3)) chaos.clock_jump_per_cent = 30;
    if (one_in(3)) chaos.odd_software_per_cent = 5 + below(40);
    chaos.journal_write = one_in(4) ? between(1, 100) : nanoseconds(250'000);
  }

  Manifestation paint_manifestation(Symptom symptom) {
    Manifestation shows{.symptom = symptom, .cause = CauseClass::kHost};
    shows.shows_after = one_in(2) ? Span{} : span(0, 3000);
    switch (symptom) {
      case Symptom::kRankExit:
        shows.signal = one_in(2) ? 9 : 11;
        if (one_in(3)) shows.signal = 0, shows.exit_code = 1;
        break;
      case Symptom::kKernelLine: {
        constexpr std::int32_t kCodes[] = {13, 31, 48, 74, 79, 94, 95, 119, 999};
        shows.xid = kCodes[below(9)];
        shows.signal = one_in(2) ? 9 : 0;
        break;
      }
      case Symptom::kNodeFreeze:
      case Symptom::kPartitionIn:
      case Symptom::kPartitionOut:
      case Symptom::kPartition:
        shows.lasts = between(100, one_in(2) ? 4000 : 60'000);
        break;
      case Symptom::kSlow:
      case Symptom::kThermal:
        shows.slow_percent = 110 + below(300);
        shows.lasts = between(1000, 60'000);
        break;
      case Symptom::kDiskFull:
      case Symptom::kServerDiskSlow:
        shows.lasts = between(1000, 30'000);
        shows.shows_after = span(0, 1500);
        break;
      default:
        break;
    }
    return shows;
  }

  // Only some symptoms in one world: a mix of all of them is the same every time.
  void paint_faults(Duration stormy) {
    std::vector<Symptom> symptoms;
    constexpr std::uint32_t kSymptoms = 16;
    const std::uint32_t kinds = 1 + below(8);
    for (std::uint32_t i = 0; i < kinds; ++i)
      symptoms.push_back(static_cast<Symptom>(below(kSymptoms)));
    const std::uint32_t faults = 1 + below(12);
    Duration at;
    for (std::uint32_t i = 0; i < faults; ++i) {
      PlannedFault fault;
      // Trouble likes company: some hit the recovery from the one before.
      at = i > 0 && one_in(3) ? std::min(stormy, at + between(10, 5000))
                              : between(5000, stormy.ms());
      fault.at = at;
      fault.shows = paint_manifestation(symptoms[below(kinds)]);
      const Symptom symptom = fault.shows.symptom;
      if (symptom == Symptom::kServerCrash || symptom == Symptom::kServerDiskSlow)
        fault.extent = Extent::kCluster;
      else if (symptom <= Symptom::kKernelLine || symptom == Symptom::kHang)
        fault.extent = one_in(2) ? Extent::kRank : Extent::kNode;
      else
        fault.extent = one_in(6) ? (one_in(2) ? Extent::kSwitch : Extent::kRack) : Extent::kNode;
      fault.first = 1 + below(scenario_.topology.nodes + scenario_.topology.spares + 2);
      if (fault.extent == Extent::kRank) fault.first = below(8);
      if (fault.extent == Extent::kRack || fault.extent == Extent::kSwitch)
        fault.first = 1 + below(3);
      fault.count = one_in(6) ? 1 + below(3) : 1;
      fault.job =
          "job" + std::to_string(1 + below(static_cast<std::uint32_t>(scenario_.jobs.size())));
      scenario_.planned.push_back(fault);
    }
    if (one_in(4)) options_.chaos.stop_job_at = between(10'000, stormy.ms());
    if (one_in(3)) options_.chaos.replace_node_at = between(10'000, stormy.ms());
  }

  Prng prng_;
  Scenario scenario_;
  RunOptions options_;
};

std::string describe(const PlannedFault& fault) {
  std::string text = std::to_string(fault.at.ms()) +
                     " ms: " + std::string(word_of(fault.shows.symptom)) + " of " +
                     std::string(word_of(fault.extent));
  if (fault.extent != Extent::kCluster) text += " " + std::to_string(fault.first);
  if (fault.count > 1) text += " and " + std::to_string(fault.count - 1) + " more";
  if (fault.extent == Extent::kRank) text += " of " + fault.job;
  if (fault.shows.lasts > Duration{})
    text += " for " + std::to_string(fault.shows.lasts.ms()) + " ms";
  return text;
}

Outcome run_drawn(const Drawn& drawn, std::uint64_t seed) {
  Outcome outcome = run(drawn.scenario, seed, drawn.options);
  for (Violation& violation : outcome.violations)
    violation.repeat = "holdfast sim swarm --first " + std::to_string(seed) + " --seeds 1";
  return outcome;
}

}  // namespace

Drawn draw_world(std::uint64_t seed) {
  return Painter(seed).paint(seed);
}

Outcome run_seed(std::uint64_t seed) {
  return run_drawn(draw_world(seed), seed);
}

std::optional<Shrunk> shrink(std::uint64_t seed) {
  Shrunk best{draw_world(seed), {}, {}, 1};
  best.outcome = run_drawn(best.world, seed);
  if (best.outcome.violations.empty()) return std::nullopt;
  const std::string checker = best.outcome.violations.front().checker;
  const auto try_without = [&](const std::function<void(Drawn&)>& leave_out) {
    Drawn less = best.world;
    leave_out(less);
    Outcome outcome = run_drawn(less, seed);
    ++best.runs;
    if (outcome.violations.empty() || outcome.violations.front().checker != checker) return false;
    best.world = std::move(less);
    best.outcome = std::move(outcome);
    return true;
  };
  for (std::size_t i = best.world.scenario.planned.size(); i-- > 0;)
    try_without([i](Drawn& less) {
      less.scenario.planned.erase(less.scenario.planned.begin() + static_cast<std::ptrdiff_t>(i));
    });
  try_without([](Drawn& less) { less.options.chaos = Chaos{}; });
  for (std::uint32_t Chaos::*knob : {&Chaos::crash_per_million, &Chaos::stuck_per_million,
                                     &Chaos::deaf_per_million, &Chaos::start_fails_per_million,
                                     &Chaos::slow_start_per_million, &Chaos::clock_jump_per_cent})
    if (best.world.options.chaos.*knob != 0)
      try_without([knob](Drawn& less) { less.options.chaos.*knob = 0; });
  try_without([](Drawn& less) { less.scenario.network = Network{}; });
  while (best.world.scenario.jobs.size() > 1 &&
         try_without([](Drawn& less) { less.scenario.jobs.pop_back(); })) {
  }
  for (const PlannedFault& fault : best.world.scenario.planned)
    best.faults.push_back(describe(fault));
  if (best.world.options.chaos.crash_per_million > 0)
    best.faults.push_back("crashes of the control plane between effects");
  return best;
}

void SwarmResult::add(Outcome outcome) {
  ++seeds;
  events += outcome.events;
  faults += outcome.faults;
  incidents += outcome.incidents.size();
  for (const IncidentTrace& incident : outcome.incidents)
    if (incident.state == IncidentState::kRecovered) ++recovered;
  crashes += outcome.server_crashes;
  replaced += outcome.machines_replaced;
  breakers += outcome.breaker_opened;
  rolled_back += outcome.updates_rolled_back;
  for (const JobTrace& job : outcome.jobs) {
    if (job.state == JobState::kSucceeded)
      ++jobs_succeeded;
    else if (job.state == JobState::kFailed)
      ++jobs_failed;
    else if (job.state == JobState::kStopped)
      ++jobs_stopped;
    else
      ++jobs_open;
  }
  simulated = simulated + outcome.simulated();
  Digest both;
  both.add(std::to_string(digest) + " " + std::to_string(outcome.digest));
  digest = both.value();
  if (!outcome.violations.empty()) failed.push_back(std::move(outcome));
}

SwarmResult swarm(std::uint64_t first, std::uint64_t count,
                  const std::function<bool(const Outcome&)>& on_seed) {
  SwarmResult result;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    Outcome outcome = run_seed(seed);
    const bool goes_on = !on_seed || on_seed(outcome);
    result.add(std::move(outcome));
    if (!goes_on) break;
  }
  return result;
}

}  // namespace holdfast::sim
