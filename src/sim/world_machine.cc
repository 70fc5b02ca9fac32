// Machines: how they come and go, their agents, and the ranks that live on them.

#include <algorithm>
#include <csignal>

#include "sim/world.h"

namespace holdfast::sim {
namespace {

constexpr Span kGiveBack = {milliseconds(50), seconds(1)};
constexpr Span kDeviceReset = {seconds(2), seconds(10)};
constexpr Span kFirstMachines = {nanoseconds(0), milliseconds(500)};

}  // namespace

// The machine provider, which outlives the control plane. Both requests are idempotent.
void World::provision(NodeId id) {
  while (machines_.size() < id.value) {
    const NodeId made{static_cast<std::uint32_t>(machines_.size() + 1)};
    machines_.push_back(std::make_unique<Machine>(seed_, made));
    machines_.back()->state = Machine::State::kGone;
    machines_.back()->life = ~std::uint64_t{0};  // not asked for yet
  }
  Machine& made = machine(id);
  if (made.life != ~std::uint64_t{0}) {
    if (made.state == Machine::State::kGone)
      queue_.after(milliseconds(20), [this, id] {
        submit(event::NodesLost{{id}, "its machine ended", true});
      });
    return;
  }
  const bool is_first = id.value <= slots();
  Prng& prng = made.prng;
  if (const std::uint32_t none = options_.chaos.no_capacity_per_mille;
      none > 0 && !is_first && now() < calm_ && prng.below(1000) < none) {
    queue_.after(milliseconds(20), [this, id] {
      submit(event::CapacityMissing{{id}, "the provider has no machine"});
    });
    return;
  }
  made.life = 0;
  made.state = Machine::State::kComing;
  const Costs& costs = scenario_.costs;
  const Duration takes = draw(prng, is_first ? kFirstMachines : costs.replacement);
  const bool fails =
      !is_first && now() < calm_ && prng.below(1000) < costs.replacement_fails_per_mille;
  queue_.after(takes, [this, id, fails] {
    Machine& here = machine(id);
    if (here.state != Machine::State::kComing) return;  // given back before it came
    if (!fails) return come_up(here);
    here.state = Machine::State::kGone;
    checkers_.hurt(id);
    submit(event::NodesLost{{id}, "its machine did not start", true});
  });
}

void World::come_up(Machine& here) {
  here.state = Machine::State::kUp;
  here.agent = std::make_unique<AgentMachine>();
  if (here.id.value <= slots()) {
    here.slot = here.id.value - 1;
  } else if (!free_slots_.empty()) {
    here.slot = free_slots_.front();
    free_slots_.pop_front();
  } else {
    here.slot = static_cast<std::uint32_t>(slot_machine_.size());
  }
  if (slot_machine_.size() <= here.slot) slot_machine_.resize(here.slot + 1);
  slot_machine_[here.slot] = here.id;
  for (std::size_t i = 0; i < scenario_.weak.size(); ++i)
    if (here.prng.below(1000) < scenario_.weak[i].per_mille) here.weak |= 1u << i;
  const Network& network = scenario_.network;
  here.is_slow_link = here.prng.below(1000) < network.slow_links_per_mille;
  if (network.clock_drift_ppm_max > 0)
    here.drift_ppm =
        static_cast<std::int32_t>(here.prng.below(2ull * network.clock_drift_ppm_max + 1)) -
        static_cast<std::int32_t>(network.clock_drift_ppm_max);
  const Costs& costs = scenario_.costs;
  if (here.id.value > slots() && now() < calm_ &&
      here.prng.below(1000) < costs.replacement_bad_per_mille) {
    here.recurring.emplace_back(&costs.replacement_bad_shows, "replacement_bad");
    here.is_bad_replacement = true;
    if (scenario_.policy.deep_checks)
      here.is_found_by_checks = here.prng.below(1000) < costs.check_finds_per_mille;
  }
  connect(here);
}

void World::terminate(NodeId id) {
  if (id.value > machines_.size()) return;
  Machine& here = machine(id);
  queue_.after(draw(here.prng, kGiveBack), [this, id] {
    die(machine(id));
    submit(event::NodesLost{{id}, "given back", true});
  });
}

// It keeps its place, its history and what is broken in it.
void World::reboot(NodeId id) {
  if (id.value > machines_.size()) return;
  Machine& here = machine(id);
  if (here.state != Machine::State::kUp) return;  // on its way already, or gone
  auto recurring = std::exchange(here.recurring, {});
  die(here);
  free_slots_.pop_back();
  here.recurring = std::move(recurring);
  here.state = Machine::State::kComing;
  here.frozen_until = {};
  queue_.after(draw(here.prng, scenario_.costs.reboot), [this, id, life = here.life] {
    Machine& then = machine(id);
    if (then.state != Machine::State::kComing || then.life != life) return;
    then.state = Machine::State::kUp;
    then.agent = std::make_unique<AgentMachine>();
    then.warm.clear();
    connect(then);
  });
}

// Power, kernel, or the agent's own end: its ranks die with it.
void World::die(Machine& here) {
  if (here.state == Machine::State::kGone) return;
  const bool reboots = here.state == Machine::State::kComing && here.life > 0;
  const bool was_up = here.state == Machine::State::kUp || reboots;
  here.state = Machine::State::kGone;
  ++here.life;
  here.agent.reset();
  here.stream = 0;
  here.unborn.clear();
  here.recurring.clear();
  const std::vector<Rank> ranks = std::exchange(here.ranks, {});
  checkers_.node_ended(here.id);
  for (const Rank& rank : ranks) {
    Run* run = find_run(rank.run);
    if (run == nullptr) continue;
    --run->alive;
    stop_training(*run, std::nullopt);
    if (&rank == &ranks.back()) peers_notice(rank.run, rank.rank);
    forget_run(rank.run);
  }
  if (was_up) free_slots_.push_back(here.slot);
  reconsider(here);
}

void World::step_agent(Machine& here, const AgentEvent& event, bool is_beat) {
  if (here.agent == nullptr) return;
  ++steps_;
  AgentEffects effects = std::exchange(effects_, {});
  effects.clear();
  here.agent->step(now(), event, effects);
  for (AgentEffect& effect : effects) {
    if (auto* send = std::get_if<agent_effect::Send>(&effect))
      send_to_server(here, std::move(send->message), is_beat);
    else
      perform(here, effect, is_beat);
  }
  effects.clear();
  effects_ = std::move(effects);
}

void World::perform(Machine& here, const AgentEffect& effect, bool) {
  if (const auto* start = std::get_if<agent_effect::StartRank>(&effect)) {
    ask_for_rank(here, *start);
  } else if (const auto* kill = std::get_if<agent_effect::KillRanks>(&effect)) {
    kill_ranks(here, *kill);
  } else if (const auto* collect = std::get_if<agent_effect::CollectStacks>(&effect)) {
    read_stacks(here, *collect);
  } else if (const auto* grace = std::get_if<agent_effect::ArmGrace>(&effect)) {
    on_machine(here, grace->after,
               [this, over = agent_event::GraceOver{grace->job, grace->attempt}](Machine& then) {
                 step_agent(then, over);
               });
  } else if (const auto* heartbeat = std::get_if<agent_effect::ArmHeartbeat>(&effect)) {
    ++here.beat_timer;
    here.welcomed_stream = here.stream;
    reconsider(here);
    // As long as its own clock takes for it.
    here.beat_interval =
        nanoseconds(heartbeat->interval.ns + heartbeat->interval.ns / 1'000'000 * here.drift_ppm);
    here.next_beat = now() + here.beat_interval;
    plan_beat(here);
  } else if (const auto* warm = std::get_if<agent_effect::WarmUp>(&effect)) {
    on_machine(here, draw(here.prng, scenario_.costs.process_start_cold),
               [job = warm->job](Machine& then) { then.warm.insert(job); });
  } else if (std::holds_alternative<agent_effect::ResetDevices>(effect)) {
    on_machine(here, draw(here.prng, kDeviceReset), [this](Machine& then) {
      step_agent(then, agent_event::ResetDone{true, "all processes had ended"});
    });
  } else if (const auto* check = std::get_if<agent_effect::StartCheck>(&effect)) {
    run_check(here, check->start);
  } else if (const auto* scripts = std::get_if<agent_effect::TryLifecycle>(&effect)) {
    here.lifecycle_run = scripts->start.run;
    try_lifecycle(here, here.lifecycle_run);
  } else if (std::holds_alternative<agent_effect::StopLifecycle>(effect)) {
    here.lifecycle_run = 0;
  } else if (const auto* retry = std::get_if<agent_effect::ArmLifecycleRetry>(&effect)) {
    on_machine(here, retry->after,
               [this, due = agent_event::LifecycleRetryDue{retry->run}](Machine& then) {
                 step_agent(then, due);
               });
  } else if (std::holds_alternative<agent_effect::Leave>(effect)) {
    on_machine(here, {}, [this](Machine& then) { die(then); });
  }
}

// The files of the scripts are asked for again and again, as by a node.
void World::try_lifecycle(Machine& here, std::uint32_t run) {
  on_machine(here, draw(here.prng, scenario_.costs.process_start_cold), [this, run](Machine& then) {
    if (then.lifecycle_run != run) return;
    const auto files = lifecycle_files(then.id, run);
    if (!files) return try_lifecycle(then, run);
    const bool ok = !bad_scripts_.contains(*files);
    step_agent(then, agent_event::LifecycleTried{run, ok, ok ? "" : "exit status 1", ""});
  });
}

void World::plan_beat(Machine& here) {
  if (!skipping_)
    queue_.beat_at(
        here.next_beat, [this, id = here.id, timer = here.beat_timer] { beat(id, timer); }, &here);
}

void World::beat(NodeId id, std::uint32_t timer) {
  Machine& here = machine(id);
  if (here.agent == nullptr || here.beat_timer != timer) return;
  if (here.frozen_until > now()) {
    here.next_beat = here.frozen_until;
    return plan_beat(here);
  }
  ++here.beats;
  here.next_beat = now() + here.beat_interval;
  plan_beat(here);
  read_pages(here, true);
  step_agent(here, agent_event::HeartbeatDue{here.rendezvous_port}, true);
}

void World::read_pages(Machine& here, bool is_beat) {
  const Run* run = nullptr;
  for (std::size_t i = 0; i < here.ranks.size(); ++i) {
    if (run == nullptr || run->key != here.ranks[i].run) run = find_run(here.ranks[i].run);
    if (run == nullptr || here.ranks[i].hung) continue;
    const std::uint64_t seen = (run->pace.step_at(now()) << 20) + run->marks;
    if (here.ranks[i].seen == seen) continue;
    here.ranks[i].seen = seen;
    step_agent(here,
               agent_event::PageRead{here.ranks[i].run.first, here.ranks[i].run.second,
                                     page_of(*run, here.ranks[i])},
               is_beat);
  }
}

// --- ranks

void World::ask_for_rank(Machine& here, const agent_effect::StartRank& effect) {
  const server_message::StartRanks& start = effect.start;
  const RunKey key{start.job, start.attempt};
  const auto [found, is_new] = runs_.try_emplace(key);
  Run& run = found->second;
  if (is_new) {
    run.key = key;
    run.world_size = start.world_size();
    run.nodes = start.nodes;
    run.members.resize(start.nodes);
    settle(job_of(key));
  }
  if (start.group_rank < run.members.size()) run.members[start.group_rank] = here.id;
  here.unborn.emplace_back(key, start.first_rank() + effect.local_rank);
  if (effect.local_rank != 0) return;
  const std::string master = start.master_address + ":" + std::to_string(start.master_port);
  if (run.master.empty()) run.master = master;
  checkers_.told_to_meet(here.id, key.first, key.second, run.master, master);
  if (start.group_rank == 0) {  // as the agent does: this port is in use now
    here.rendezvous_port = here.rendezvous_port == 31999 ? 20000 : here.rendezvous_port + 1;
    on_machine(here, Duration{}, [this](Machine& then) {
      step_agent(then, agent_event::HeartbeatDue{then.rendezvous_port});
    });
  }
  const Costs& costs = scenario_.costs;
  const bool is_warm = here.warm.contains(start.job);
  here.warm.insert(start.job);
  Duration takes = draw(here.prng, is_warm ? costs.process_start : costs.process_start_cold);
  const Chaos& chaos = options_.chaos;
  if (chaos.slow_start_per_million > 0 && now() < calm_ &&
      here.prng.below(1'000'000) < chaos.slow_start_per_million)
    takes = takes + draw(here.prng, {seconds(5), seconds(20)});
  on_machine(here, takes, [this, key](Machine& then) { births(then, key); });
}

void World::births(Machine& here, const RunKey& key) {
  const Chaos& chaos = options_.chaos;
  std::vector<std::uint32_t> born;
  std::erase_if(here.unborn, [&](const auto& asked) {
    if (asked.first != key) return false;
    born.push_back(asked.second);
    return true;
  });
  for (const std::uint32_t number : born) {
    Run* run = find_run(key);
    if (run == nullptr) return;
    if (chaos.start_fails_per_million > 0 && now() < calm_ &&
        here.prng.below(1'000'000) < chaos.start_fails_per_million) {
      job_of(key).trouble = {"start_fails", now(), CauseClass::kUnknown};
      step_agent(
          here,
          agent_event::RankEnded{
              key.first, key.second, {.rank = number, .code = 127, .error_type = "start_failed"}});
      continue;
    }
    Rank rank{.run = key, .rank = number, .pid = ++pids_};
    if (chaos.stuck_per_million > 0)
      rank.stuck = now() < calm_ && here.prng.below(1'000'000) < chaos.stuck_per_million;
    if (chaos.deaf_per_million > 0) rank.deaf = here.prng.below(1'000'000) < chaos.deaf_per_million;
    if (rank.stuck) checkers_.hurt(here.id);
    if (std::exchange(here.is_bad_replacement, false)) ++outcome_.bad_replacements_used;
    here.ranks.push_back(rank);
    ++run->born;
    ++run->alive;
    checkers_.born(here.id, key.first, key.second, number);
    const bool all = run->born == run->world_size && run->alive == run->world_size &&
                     run->phase == Run::Phase::kStarting;
    step_agent(here, agent_event::RankStarted{key.first, key.second, number, rank.pid});
    if (!all || (run = find_run(key)) == nullptr) continue;
    change_phase(*run, Run::Phase::kJoining);
    later_in(*run, draw(here.prng, scenario_.costs.rendezvous), &World::joined);
  }
}

void World::kill_ranks(Machine& here, const agent_effect::KillRanks& kill) {
  const RunKey key{kill.job, kill.attempt};
  const Duration takes = draw(here.prng, scenario_.costs.drain);
  on_machine(here, takes, [this, key, signal = kill.signal](Machine& then) {
    std::vector<std::uint32_t> unborn;
    std::erase_if(then.unborn, [&](const auto& asked) {
      if (asked.first != key) return false;
      unborn.push_back(asked.second);
      return true;
    });
    for (const std::uint32_t rank : unborn)
      step_agent(
          then,
          agent_event::RankEnded{
              key.first, key.second, {.rank = rank, .code = 127, .error_type = "start_failed"}});
    std::vector<Rank> hit;
    for (const Rank& rank : then.ranks)
      if (rank.run == key && !(signal == SIGTERM && rank.deaf)) hit.push_back(rank);
    for (const Rank& rank : hit) {
      if (rank.stuck)
        on_machine(then, seconds(30), [this, key, number = rank.rank, signal](Machine& later) {
          end_rank_of(later, key, number, {.signal = signal});
        });
      else
        end_rank_of(then, key, rank.rank, {.signal = signal});
    }
  });
}

void World::end_rank_of(Machine& here, const RunKey& key, std::uint32_t number, RankExit exit) {
  const auto rank = std::find_if(here.ranks.begin(), here.ranks.end(), [&](const Rank& one) {
    return one.run == key && one.rank == number;
  });
  if (rank == here.ranks.end()) return;
  exit.rank = number;
  const bool was_hung = rank->hung;
  Run* run = find_run(key);
  if (run != nullptr) exit.progress = page_of(*run, *rank);
  here.ranks.erase(rank);
  checkers_.died(here.id, key.first, key.second, number);
  if (run != nullptr) {
    --run->alive;
    if (!exit.clean()) stop_training(*run, std::nullopt);
    forget_run(key);
  }
  if (was_hung) reconsider(here);
  step_agent(here, agent_event::RankEnded{key.first, key.second, std::move(exit)});
}

void World::read_stacks(Machine& here, const agent_effect::CollectStacks& collect) {
  const RunKey key{collect.job, collect.attempt};
  on_machine(here, draw(here.prng, {milliseconds(10), milliseconds(200)}),
             [this, key, number = collect.rank](Machine& then) {
               for (const Rank& rank : then.ranks) {
                 if (rank.run != key || rank.rank != number) continue;
                 return step_agent(then, agent_event::StacksRead{{.job = key.first,
                                                                  .attempt = key.second,
                                                                  .rank = number,
                                                                  .answered = !rank.hung}});
               }
             });
}

// A number that is much like that of the others, or of a bad machine a wrong result of its GEMM: it
// is the step that stands for whatever test would have found what is wrong with it.
void World::run_check(Machine& here, const server_message::StartCheck& start) {
  const Duration takes = draw(here.prng, scenario_.costs.check_step);
  on_machine(here, takes, [this, start, takes](Machine& then) {
    agent_message::CheckReport report{.check = start.check, .step = start.step};
    CheckResult result{.test = start.test, .unit = "GB/s", .took = takes};
    result.value = static_cast<std::int64_t>(95'000 + then.prng.below(10'000));
    if (start.test == "gemm" && then.is_found_by_checks) {
      checkers_.hurt(then.id);
      result.verdict = CheckVerdict::kFailed;
      result.action = Action::kReplaceNode;
      result.reason = "a result is wrong";
      result.unit.clear();
    }
    if (start.peers.size() == 2) result.peer = start.peers[1 - start.position].node;
    if (start.peers.size() != 2 || start.position == 1) report.results.push_back(result);
    step_agent(then, agent_event::CheckDone{std::move(report)});
  });
}

RankProgress World::page_of(const Run& run, const Rank& rank) const {
  RankProgress page{.rank = rank.rank, .step = run.pace.step_at(now())};
  if (run.phase < Run::Phase::kReady && run.restored == 0) return page;
  page.steps_this_attempt = page.step - std::min(page.step, run.restored);
  page.median_step_ns = page.steps_this_attempt > 0 ? run.pace.step_time().ns : 0;
  if (run.has_restored) page.restored_step = run.restored;
  if (rank.rank != 0) return page;  // the others' news of a commit decides nothing
  page.committed_step = run.committed_shown;
  page.checkpoint_failures = run.save_failures_shown;
  if (run.save_failures_shown > 0) page.checkpoint_error = "OSError: no space left on device";
  return page;
}

}  // namespace holdfast::sim
