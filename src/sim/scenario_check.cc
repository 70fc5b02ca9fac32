// check_scenario() of sim/scenario_file.h

#include <algorithm>

#include "sim/scenario_file.h"

namespace holdfast::sim {
namespace {

constexpr Duration kDurationMax = seconds(10ll * 365 * 86'400);

Error invalid(const std::string& field, const std::string& what) {
  return {Errc::kInvalidField, field + ": " + what};
}

Result<void> in_range(const std::string& field, std::uint64_t value, std::uint64_t least,
                      std::uint64_t most) {
  if (value >= least && value <= most) return {};
  return invalid(field, std::to_string(value) + " is not allowed; give " + std::to_string(least) +
                            " to " + std::to_string(most));
}

Result<void> lasting(const std::string& field, Duration value, Duration least,
                     Duration most = kDurationMax) {
  if (value < least) {
    const bool positive = least.ns <= 1;
    return invalid(field, positive
                              ? "must be longer than zero"
                              : "too short; give at least " + std::to_string(least.ms()) + "ms");
  }
  if (value > most)
    return invalid(field,
                   "too long; give at most " + std::to_string(most.ns / seconds(1).ns) + "s");
  return {};
}

Result<void> in_order(const std::string& field, const Span& span) {
  if (span.least <= span.most) return lasting(field, span.most, Duration{});
  return invalid(field, "the least is more than the most; swap them");
}

Result<void> check_name(const std::string& field, const std::string& name) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789-_";
  if (!name.empty() && name.size() <= 63 && name.find_first_not_of(kLetters) == name.npos)
    return {};
  return invalid(field,
                 "'" + name.substr(0, 80) + "' is not allowed; use 1 to 63 of a-z, 0-9, -, _");
}

bool needs_end(Symptom symptom) {
  return symptom == Symptom::kNodeFreeze || symptom == Symptom::kSlow ||
         symptom == Symptom::kThermal || symptom == Symptom::kPartition ||
         symptom == Symptom::kPartitionIn || symptom == Symptom::kPartitionOut ||
         symptom == Symptom::kDiskFull || symptom == Symptom::kServerDiskSlow;
}

bool of_server(Symptom symptom) {
  return symptom == Symptom::kServerCrash || symptom == Symptom::kServerDiskSlow;
}

Result<void> check_shows(const std::string& field, const Manifestation& shows, Extent extent) {
  HF_TRY_VOID(in_order(field + ".after", shows.shows_after));
  if (shows.recurs_after) HF_TRY_VOID(in_order(field + ".recurs_after", *shows.recurs_after));
  HF_TRY_VOID(lasting(field + ".lasts", shows.lasts, Duration{}));
  HF_TRY_VOID(in_range(field + ".slow_percent", shows.slow_percent, 101, 100'000));
  if (shows.signal < 0 || shows.signal > 64)
    return invalid(field + ".signal",
                   std::to_string(shows.signal) + " is not allowed; give 0 to 64");
  if (shows.exit_code < 0 || shows.exit_code > 255)
    return invalid(field + ".exit_code",
                   std::to_string(shows.exit_code) + " is not allowed; give 0 to 255");
  if ((shows.symptom == Symptom::kKernelLine) != (shows.xid != 0))
    return invalid(field + ".xid", "goes with `as: kernel_line`, and the two need each other");
  if (shows.symptom == Symptom::kRankExit && shows.signal == 0 && shows.exit_code == 0)
    return invalid(field, "a rank_exit needs a signal or an exit_code");
  if (needs_end(shows.symptom) && shows.lasts == Duration{})
    return invalid(field + ".lasts",
                   "missing; " + std::string(word_of(shows.symptom)) + " comes to an end");
  if (of_server(shows.symptom) && extent != Extent::kCluster)
    return invalid(field, std::string(word_of(shows.symptom)) + " is a fault `of: cluster`");
  return {};
}

Result<void> check_topology(const Topology& t) {
  HF_TRY_VOID(in_range("topology.nodes", t.nodes, 1, 100'000));
  HF_TRY_VOID(in_range("topology.spares", t.spares, 0, 100'000));
  HF_TRY_VOID(in_range("topology.accelerators_per_node", t.accelerators_per_node, 1, 1024));
  HF_TRY_VOID(in_range("topology.nodes_per_rack", t.nodes_per_rack, 1, 100'000));
  HF_TRY_VOID(in_range("topology.racks_per_switch", t.racks_per_switch, 1, 100'000));
  HF_TRY_VOID(in_range("topology.groups", t.groups, 1, t.nodes));
  if (t.machines_max != 0 && t.machines_max < t.nodes + t.spares)
    return invalid("topology.machines_max", std::to_string(t.machines_max) +
                                                " is less than nodes and spares together, " +
                                                std::to_string(t.nodes + t.spares));
  return {};
}

Result<void> check_job(const std::string& field, const JobShape& job, const Topology& topology) {
  HF_TRY_VOID(check_name(field + ".name", job.name));
  HF_TRY_VOID(in_range(field + ".count", job.count, 1, 100'000));
  HF_TRY_VOID(in_range(field + ".nodes", job.nodes_min, 1, job.nodes_max));
  HF_TRY_VOID(in_range(field + ".nodes", job.nodes_max, 1, topology.nodes));
  HF_TRY_VOID(in_range(field + ".group", job.group, 0, topology.groups));
  HF_TRY_VOID(in_range(field + ".ranks_per_node", job.ranks_per_node, 1, 1024));
  HF_TRY_VOID(lasting(field + ".submitted_at", job.submitted_at, Duration{}));
  HF_TRY_VOID(lasting(field + ".step_time", job.step_time, milliseconds(1)));
  HF_TRY_VOID(lasting(field + ".checkpoint.interval", job.checkpoint_interval, milliseconds(1)));
  HF_TRY_VOID(lasting(field + ".checkpoint.stall", job.checkpoint_stall, Duration{}));
  HF_TRY_VOID(lasting(field + ".checkpoint.write", job.checkpoint_write, Duration{}));
  HF_TRY_VOID(in_range(field + ".retry.attempts_without_progress_max",
                       job.retry.attempts_without_progress_max, 1, 1'000'000));
  HF_TRY_VOID(lasting(field + ".hang.stall_min", job.hang.stall_min, milliseconds(100),
                      seconds(7 * 86'400)));
  return in_range(field + ".hang.stall_factor", job.hang.stall_factor, 1, 1'000'000);
}

Result<void> check_planned(const std::string& field, const PlannedFault& fault,
                           const Scenario& scenario) {
  HF_TRY_VOID(lasting(field + ".at", fault.at, Duration{}));
  if (fault.at >= scenario.duration)
    return invalid(field + ".at", "is after the end of the run; lengthen `duration`");
  HF_TRY_VOID(in_range(field + ".count", fault.count, 1, 1'000'000));
  HF_TRY_VOID(
      in_range(field + ".first", fault.first, fault.extent == Extent::kRank ? 0 : 1, 10'000'000));
  if (!fault.job.empty() &&
      std::ranges::find(scenario.jobs, fault.job, &JobShape::name) == scenario.jobs.end())
    return invalid(field + ".job", "'" + fault.job.substr(0, 80) + "' is none of `jobs`");
  return check_shows(field + ".shows", fault.shows, fault.extent);
}

Result<void> check_costs(const Costs& costs) {
  const std::pair<const char*, const Span&> kSpans[] = {
      {"costs.drain", costs.drain},
      {"costs.place", costs.place},
      {"costs.process_start", costs.process_start},
      {"costs.process_start_cold", costs.process_start_cold},
      {"costs.rendezvous", costs.rendezvous},
      {"costs.restore", costs.restore},
      {"costs.first_step", costs.first_step},
      {"costs.reboot", costs.reboot},
      {"costs.replacement", costs.replacement},
      {"costs.check_step", costs.check_step},
      {"costs.server_restart", costs.server_restart}};
  for (const auto& [field, span] : kSpans) HF_TRY_VOID(in_order(field, span));
  HF_TRY_VOID(
      in_range("costs.replacement_fails_per_mille", costs.replacement_fails_per_mille, 0, 1000));
  HF_TRY_VOID(
      in_range("costs.replacement_bad_per_mille", costs.replacement_bad_per_mille, 0, 1000));
  HF_TRY_VOID(in_range("costs.check_finds_per_mille", costs.check_finds_per_mille, 0, 1000));
  if (costs.replacement_bad_per_mille == 0) return {};
  return check_shows("costs.replacement_bad_shows", costs.replacement_bad_shows, Extent::kNode);
}

Result<void> check_world(const Scenario& scenario) {
  const Network& network = scenario.network;
  HF_TRY_VOID(in_order("network.delay", network.delay));
  HF_TRY_VOID(in_range("network.loss_per_million", network.loss_per_million, 0, 999'999));
  HF_TRY_VOID(lasting("network.retransmit", network.retransmit, Duration{}));
  HF_TRY_VOID(in_range("network.slow_links_per_mille", network.slow_links_per_mille, 0, 1000));
  HF_TRY_VOID(in_range("network.slow_factor", network.slow_factor, 1, 1'000'000));
  HF_TRY_VOID(in_range("network.clock_drift_ppm_max", network.clock_drift_ppm_max, 0, 500'000));
  HF_TRY_VOID(lasting("spot.notice", scenario.spot.notice, Duration{}));
  const Policy& policy = scenario.policy;
  HF_TRY_VOID(in_range("policy.breaker_percent", policy.breaker_percent, 1, 100));
  HF_TRY_VOID(lasting("policy.breaker_window", policy.breaker_window, Duration{1}));
  HF_TRY_VOID(lasting("policy.heartbeat_interval", policy.heartbeat_interval, milliseconds(10)));
  if (policy.silence_max <= policy.heartbeat_interval)
    return invalid("policy.silence_max",
                   "is not longer than heartbeat_interval; every node would count as lost");
  return {};
}

}  // namespace

Result<void> check_scenario(const Scenario& scenario) {
  HF_TRY_VOID(check_name("name", scenario.name));
  HF_TRY_VOID(lasting("duration", scenario.duration, Duration{1}));
  HF_TRY_VOID(check_topology(scenario.topology));
  if (scenario.jobs.empty()) return invalid("jobs", "empty; give at least one job");
  const auto at = [](const char* list, std::size_t i) {
    return std::string(list) + "[" + std::to_string(i) + "]";
  };
  for (std::size_t i = 0; i < scenario.jobs.size(); ++i)
    HF_TRY_VOID(check_job(at("jobs", i), scenario.jobs[i], scenario.topology));
  for (std::size_t i = 0; i < scenario.faults.size(); ++i) {
    const FaultSource& source = scenario.faults[i];
    HF_TRY_VOID(check_name(at("faults", i) + ".name", source.name));
    // More than one in three seconds is no machine any more.
    HF_TRY_VOID(in_range(at("faults", i) + ".per_billion_hours", source.per_billion_hours, 0,
                         1'000'000'000'000));
    HF_TRY_VOID(check_shows(at("faults", i) + ".shows", source.shows, source.extent));
  }
  for (std::size_t i = 0; i < scenario.weak.size(); ++i) {
    const WeakGroup& group = scenario.weak[i];
    HF_TRY_VOID(check_name(at("weak", i) + ".name", group.name));
    HF_TRY_VOID(in_range(at("weak", i) + ".per_mille", group.per_mille, 0, 1000));
    HF_TRY_VOID(in_range(at("weak", i) + ".factor", group.factor, 1, 1'000'000));
    if (group.until != Duration{} && group.until <= group.from)
      return invalid(at("weak", i) + ".until", "is not after `from`");
  }
  for (std::size_t i = 0; i < scenario.planned.size(); ++i)
    HF_TRY_VOID(check_planned(at("planned", i), scenario.planned[i], scenario));
  HF_TRY_VOID(check_costs(scenario.costs));
  return check_world(scenario);
}

}  // namespace holdfast::sim
