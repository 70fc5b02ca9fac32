// What goes wrong, when, and how it shows.

#include <algorithm>
#include <csignal>

#include "sim/world.h"

namespace holdfast::sim {
namespace {

constexpr std::uint64_t kStreamOfSources = 100;
constexpr std::uint32_t kPlaces = 1'000'000;  // of a roll of the dice

std::uint64_t units_of(const Scenario& scenario, Extent extent) {
  const Topology& topology = scenario.topology;
  const std::uint64_t machines = std::uint64_t{topology.nodes} + topology.spares;
  const std::uint64_t per_rack = std::max(1u, topology.nodes_per_rack);
  const std::uint64_t racks = (machines + per_rack - 1) / per_rack;
  const std::uint64_t per_switch = std::max(1u, topology.racks_per_switch);
  switch (extent) {
    case Extent::kRank:
      return machines * topology.accelerators_per_node;
    case Extent::kNode:
      return machines;
    case Extent::kRack:
      return racks;
    case Extent::kSwitch:
      return (racks + per_switch - 1) / per_switch;
    case Extent::kCluster:
      return 1;
  }
  return 1;
}

// Machines that stand together, of one unit.
std::uint32_t machines_in(const Scenario& scenario, Extent extent) {
  const Topology& topology = scenario.topology;
  const std::uint32_t rack = std::max(1u, topology.nodes_per_rack);
  if (extent == Extent::kRack) return rack;
  if (extent == Extent::kSwitch) return rack * std::max(1u, topology.racks_per_switch);
  return 1;
}

std::uint32_t most_factor(const Scenario& scenario) {
  std::uint32_t most = 1;
  for (const WeakGroup& group : scenario.weak) most *= std::max(1u, group.factor);
  return most;
}

bool stops_training(const Manifestation& shows) {
  switch (shows.symptom) {
    case Symptom::kRankExit:
    case Symptom::kRankError:
    case Symptom::kOutOfMemory:
    case Symptom::kNodeSilent:
    case Symptom::kHang:
      return true;
    case Symptom::kKernelLine:
      return shows.signal != 0 || shows.exit_code != 0;
    default:
      return false;
  }
}

}  // namespace

void World::plan_faults() {
  for (std::size_t i = 0; i <= scenario_.faults.size(); ++i)  // the last one: spot reclaims
    source_prngs_.emplace_back(seed_, kStreamOfSources + i);
  source_next_.assign(scenario_.faults.size() + 1, end_ + seconds(1));
  for (std::size_t i = 0; i < scenario_.faults.size(); ++i) plan_next(i);
  plan_reclaim();
  const Chaos& chaos = options_.chaos;
  if (chaos.stop_job_at > Duration{})
    queue_.after(chaos.stop_job_at, [this] {
      const Job& job = *jobs_[prng_.below(jobs_.size())];
      if (job.id) submit(event::JobStopAsked{job.id, "operator"});
    });
  if (chaos.replace_node_at > Duration{})
    queue_.after(chaos.replace_node_at, [this] {
      const NodeId node{1 + static_cast<std::uint32_t>(prng_.below(machines_.size()))};
      submit(event::NodeReplaceAsked{node, "operator"});
    });
  for (const PlannedFault& planned : scenario_.planned) {
    if (start_ + planned.at >= calm_) continue;
    risk_at(start_ + planned.at);
    queue_.at(start_ + planned.at, [this, &planned] { strike_planned(planned); });
  }
}

void World::plan_next(std::size_t source) {
  const FaultSource& fault = scenario_.faults[source];
  if (fault.per_billion_hours == 0) return;
  const bool by_machine = fault.extent == Extent::kRank || fault.extent == Extent::kNode;
  const std::uint64_t rate = fault.per_billion_hours * units_of(scenario_, fault.extent) *
                             (by_machine ? most_factor(scenario_) : 1);
  const Instant at = now() + draw_wait(source_prngs_[source], rate);
  source_next_[source] = at;
  if (at < calm_) queue_.at(at, [this, source] { strike(source); });
}

// The dice were thrown for the weakest of machines: another one is hit less often.
void World::strike(std::size_t source) {
  const FaultSource& fault = scenario_.faults[source];
  Prng& prng = source_prngs_[source];
  plan_next(source);
  if (fault.extent == Extent::kCluster) {
    count_fault(fault.name);
    return inflict_on_cluster(fault.name, fault.shows);
  }
  const std::uint64_t units = units_of(scenario_, fault.extent);
  auto unit = static_cast<std::uint32_t>(prng.below(units));
  if (fault.extent == Extent::kRank) unit /= scenario_.topology.accelerators_per_node;
  const std::uint64_t dice = prng.below(kPlaces);
  if (fault.extent == Extent::kRack || fault.extent == Extent::kSwitch) {
    count_fault(fault.name);
    return strike_slots(fault.name, fault.extent, unit + 1, 1, fault.shows);
  }
  Machine* victim = at_slot(unit);
  if (victim == nullptr) return;
  std::uint64_t factor = 1;
  for (std::size_t i = 0; i < scenario_.weak.size(); ++i) {
    const WeakGroup& group = scenario_.weak[i];
    const Duration since = now() - start_;
    if ((victim->weak >> i & 1) != 0 && since >= group.from &&
        (group.until == Duration{} || since < group.until))
      factor *= std::max(1u, group.factor);
  }
  if (dice * most_factor(scenario_) >= kPlaces * factor) return;
  count_fault(fault.name);
  inflict(*victim, fault.name, fault.extent, fault.shows);
}

void World::risk_at(Instant when) {
  risks_.insert(when);
  // After what happens then.
  queue_.at(when + nanoseconds(1), [this, when] { risks_.erase(risks_.find(when)); });
}

void World::count_fault(const std::string&) {
  ++outcome_.faults;
  if (!outcome_.first_fault_at) outcome_.first_fault_at = now();
}

Machine* World::at_slot(std::uint32_t slot) {
  if (slot >= slot_machine_.size() || !slot_machine_[slot]) return nullptr;
  Machine& here = machine(slot_machine_[slot]);
  return here.agent == nullptr ? nullptr : &here;
}

void World::strike_planned(const PlannedFault& planned) {
  const std::string name =
      planned.name.empty() ? std::string(word_of(planned.shows.symptom)) : planned.name;
  count_fault(name);
  switch (planned.extent) {
    case Extent::kCluster:
      return inflict_on_cluster(name, planned.shows);
    case Extent::kRack:
    case Extent::kSwitch:
      return strike_slots(name, planned.extent, planned.first, planned.count, planned.shows);
    case Extent::kNode:
      for (std::uint32_t id = planned.first; id < planned.first + planned.count; ++id)
        if (id >= 1 && id <= machines_.size() && machine(NodeId{id}).agent != nullptr)
          inflict(machine(NodeId{id}), name, planned.extent, planned.shows);
      return;
    case Extent::kRank:
      break;
  }
  for (const auto& job : jobs_) {
    if (!planned.job.empty() && job->name != planned.job) continue;
    Run* run = find_run({job->id, job->attempt});
    if (run == nullptr) return;
    const std::vector<NodeId> members = run->members;
    for (const NodeId node : members) {
      if (!node) continue;
      Machine& here = machine(node);
      for (std::uint32_t rank = planned.first; rank < planned.first + planned.count; ++rank)
        for (std::size_t i = 0; i < here.ranks.size(); ++i)
          if (here.ranks[i].run.first == job->id && here.ranks[i].rank == rank) {
            inflict_on_rank(here, i, name, false, planned.shows);
            break;
          }
    }
    return;
  }
}

void World::strike_slots(const std::string& name, Extent extent, std::uint32_t first,
                         std::uint32_t count, const Manifestation& shows) {
  const std::uint32_t each = machines_in(scenario_, extent);
  for (std::uint32_t slot = (first - 1) * each; slot < (first - 1 + count) * each; ++slot)
    if (Machine* here = at_slot(slot)) inflict(*here, name, Extent::kNode, shows);
}

void World::inflict(Machine& here, const std::string& name, Extent extent,
                    const Manifestation& shows) {
  const bool known = std::any_of(here.recurring.begin(), here.recurring.end(),
                                 [&](const auto& one) { return one.first == &shows; });
  if (shows.recurs_after && shows.cause != CauseClass::kApplication && !known) {
    here.recurring.emplace_back(&shows, name);
    checkers_.hurt(here.id);  // it ends ranks until it is replaced
  }
  if (!here.ranks.empty()) {
    const std::size_t index = here.prng.below(here.ranks.size());
    return inflict_on_rank(here, index, name, extent == Extent::kNode, shows);
  }
  const Duration after = draw(here.prng, shows.shows_after);
  risk_at(now() + after);
  on_machine(here, after, [this, &shows](Machine& then) { show(then, {}, true, shows); });
}

void World::inflict_on_rank(Machine& here, std::size_t index, const std::string& name,
                            bool is_whole_node, const Manifestation& shows) {
  const Rank rank = here.ranks[index];
  Run* run = find_run(rank.run);
  if (run != nullptr) {
    Job& job = job_of(rank.run);
    const Job::Trouble trouble{name, now(), shows.cause};
    if (shows.recurs_after && shows.cause == CauseClass::kApplication && job.recurring.empty())
      job.recurring.emplace_back(&shows, name);
    if (stops_training(shows)) {
      const bool has_begun = run->pace.step_at(now()) > run->restored;
      stop_training(*run, trouble);
      checkers_.stopped(job.id, rank.run.second, has_begun, name, server_now(),
                        server_now() + shows.shows_after.most);
    } else if (!job.trouble && shows.symptom == Symptom::kKernelLine) {
      job.trouble = trouble;
    }
  }
  const Duration after = draw(here.prng, shows.shows_after);
  risk_at(now() + after);
  on_machine(here, after, [this, rank, is_whole_node, &shows](Machine& then) {
    show(then, rank, is_whole_node, shows);
  });
}

void World::show(Machine& here, const Rank& rank, bool, const Manifestation& shows) {
  const bool has_rank = static_cast<bool>(rank.run.first);
  const std::string killed = std::to_string(rank.pid) + " (python3) total-vm:9kB, anon-rss:9kB";
  switch (shows.symptom) {
    case Symptom::kRankExit:
    case Symptom::kRankError:
    case Symptom::kOutOfMemory: {
      if (!has_rank) return;
      RankExit exit{.code = shows.exit_code, .signal = shows.signal};
      if (shows.symptom == Symptom::kRankError)
        exit = {.code = 1, .error_type = "ValueError", .error_message = "the loss is not finite"};
      if (shows.symptom == Symptom::kOutOfMemory) {
        exit = {.signal = SIGKILL};
        step_agent(
            here, agent_event::KernelLine{"Memory cgroup out of memory: Killed process " + killed});
      }
      peers_notice(rank.run, rank.rank);
      return end_rank_of(here, rank.run, rank.rank, exit);
    }
    case Symptom::kKernelLine:
      here.hurt = true;
      checkers_.hurt(here.id);
      step_agent(
          here, agent_event::KernelLine{"NVRM: Xid (PCI:0000:b9:00): " + std::to_string(shows.xid) +
                                        ", pid=" + std::to_string(rank.pid) + ", a fault"});
      if (!has_rank || (shows.signal == 0 && shows.exit_code == 0)) return;
      peers_notice(rank.run, rank.rank);
      return end_rank_of(here, rank.run, rank.rank,
                         {.code = shows.exit_code, .signal = shows.signal});
    case Symptom::kNodeSilent:
      checkers_.hurt(here.id);
      return die(here);
    case Symptom::kNodeFreeze:
      return freeze(here, shows.lasts);
    case Symptom::kHang:
      if (!has_rank) return;
      for (Rank& one : here.ranks)
        if (one.run == rank.run && one.rank == rank.rank) one.hung = true;
      return reconsider(here);
    case Symptom::kSlow:
    case Symptom::kThermal:
      return slow(here, shows);
    case Symptom::kStreamReset:
      return break_stream(here);
    case Symptom::kPartitionIn:
    case Symptom::kPartitionOut:
    case Symptom::kPartition:
      checkers_.hurt(here.id);
      return cut(here, shows.symptom != Symptom::kPartitionOut,
                 shows.symptom != Symptom::kPartitionIn, shows.lasts);
    case Symptom::kDiskFull:
      if (has_rank) job_of(rank.run).disk_full_until = until(shows.lasts);
      return;
    case Symptom::kServerCrash:
    case Symptom::kServerDiskSlow:
      return inflict_on_cluster({}, shows);
  }
}

Instant World::until(Duration lasts) const {
  return lasts > Duration{} ? now() + lasts : end_ + seconds(3600);
}

// Nothing on it runs; its job waits for it, and goes on when it does, if it is left alone so long.
void World::freeze(Machine& here, Duration lasts) {
  checkers_.hurt(here.id);
  here.frozen_until = std::max(here.frozen_until, until(lasts));
  reconsider(here);
  if (here.ranks.empty()) return;
  const RunKey key = here.ranks.front().run;
  Run* run = find_run(key);
  if (run == nullptr || run->phase != Run::Phase::kTraining) return;
  Job& job = job_of(key);
  if (!job.trouble) job.trouble = {"node_freeze", now(), CauseClass::kHost};
  account_slowness(*run);
  run->pace.stop(now());
  ++run->changes;
  settle(job);
  on_machine(here, here.frozen_until - now(), [this, key](Machine& then) {
    reconsider(then);
    Run* thawed = find_run(key);
    if (thawed == nullptr || thawed->phase != Run::Phase::kTraining || thawed->pace.moves()) return;
    job_of(key).trouble.reset();
    train(*thawed);
    settle(job_of(key));
  });
}

void World::slow(Machine& here, const Manifestation& shows) {
  if (here.slow_percent == 100) ++slow_machines_;
  here.slow_percent = std::max(here.slow_percent, shows.slow_percent);
  const auto pace_all = [this](const Machine& machine) {
    if (machine.ranks.empty()) return;
    if (Run* run = find_run(machine.ranks.front().run)) pace_anew(*run);
  };
  pace_all(here);
  if (shows.lasts == Duration{}) return;
  on_machine(here, shows.lasts, [this, pace_all](Machine& then) {
    if (then.slow_percent > 100) --slow_machines_;
    then.slow_percent = 100;
    pace_all(then);
  });
}

void World::inflict_on_cluster(const std::string& name, const Manifestation& shows) {
  if (shows.symptom == Symptom::kServerCrash) return crash_server();
  if (shows.symptom == Symptom::kServerDiskSlow) {
    disk_slow_ = shows.shows_after.most;
    disk_slow_until_ = until(shows.lasts);
    return;
  }
  for (std::uint32_t slot = 0; slot < slots(); ++slot)
    if (Machine* here = at_slot(slot)) inflict(*here, name, Extent::kNode, shows);
}

// Training has begun: what is broken for good shows again.
void World::recur(Run& run) {
  for (const auto& [shows, name] : job_of(run.key).recurring)
    queue_.after(draw(prng_, *shows->recurs_after),
                 [this, key = run.key, shows = shows, name = name] {
                   const Run* then = find_run(key);
                   if (then == nullptr || then->members.empty() || now() >= calm_) return;
                   Machine& first = machine(then->members.front());
                   if (!first.ranks.empty()) inflict_on_rank(first, 0, name, false, *shows);
                 });
  for (const NodeId node : run.members) {
    if (!node) continue;
    for (const auto& [shows, name] : machine(node).recurring) {
      const Instant at = now() + draw(machine(node).prng, *shows->recurs_after);
      risk_at(at);
      queue_.at(at, [this, node, life = machine(node).life, shows = shows, name = name] {
        Machine& here = machine(node);
        if (here.life == life && now() < calm_) inflict(here, name, Extent::kRank, *shows);
      });
    }
  }
}

// The provider takes a machine back, and says so before.
void World::plan_reclaim() {
  const Spot& spot = scenario_.spot;
  if (spot.reclaims_per_billion_hours == 0) return;
  Prng& prng = source_prngs_.back();
  const Instant at =
      now() + draw_wait(prng, spot.reclaims_per_billion_hours * units_of(scenario_, Extent::kNode));
  source_next_.back() = at;
  if (at >= calm_) return;
  queue_.at(at, [this, &prng, &spot] {
    plan_reclaim();
    Machine* here = at_slot(static_cast<std::uint32_t>(prng.below(slots())));
    if (here == nullptr) return;
    count_fault("spot");
    checkers_.hurt(here->id);
    for (const Rank& rank : here->ranks)
      if (Job& job = job_of(rank.run); !job.trouble)
        job.trouble = {"spot_reclaim", now(), CauseClass::kHost};
    if (spot.replace_on_notice) submit(event::NodeReplaceAsked{here->id, "spot notice"});
    risk_at(now() + spot.notice);
    on_machine(*here, spot.notice, [this](Machine& then) {
      const std::vector<Rank> ranks = then.ranks;
      for (const Rank& rank : ranks)
        if (Run* run = find_run(rank.run))
          stop_training(*run, Job::Trouble{"spot_reclaim", now(), CauseClass::kHost});
      die(then);
    });
  });
}

}  // namespace holdfast::sim
