// tidy: allow test-place, because what it tests is the controller and the agents together.
// The world's machines: agents, their streams, and ranks that make steps together.

#include <csignal>

#include "core/cluster/world_test.h"

namespace holdfast {
namespace {

constexpr std::uint64_t kStepsPerCommit = 20;
constexpr auto kStep = milliseconds(200);

}  // namespace

void World::connect(NodeId id) {
  Node& node = nodes_.at(id);
  if (node.stream != 0) return;
  if (!up_) return on_node(id, between(200, 1000), [this, id] { connect(id); });
  node.stream = ++streams_;
  step_agent(
      id, agent_event::Connected{{.node = id, .address = to_string(id), .rendezvous_port = 20000}});
}

void World::step_agent(NodeId id, const AgentEvent& event) {
  AgentEffects effects;
  nodes_.at(id).agent.step(now_, event, effects);
  for (const AgentEffect& effect : effects) perform(id, effect);
}

void World::perform(NodeId id, const AgentEffect& effect) {
  if (const auto* send = std::get_if<agent_effect::Send>(&effect)) {
    send_to_server(id, send->message);
  } else if (const auto* start = std::get_if<agent_effect::StartRank>(&effect)) {
    const Duration import = prng_.chance(1, 40) ? between(5000, 20'000) : between(20, 800);
    const RankKey key{{start->start.job, start->start.attempt},
                      start->start.first_rank() + start->local_rank};
    nodes_.at(id).unborn.emplace(key, start->start);
    on_node(id, import, [this, id, key] { rank_born(id, key); });
  } else if (const auto* kill = std::get_if<agent_effect::KillRanks>(&effect)) {
    kill_ranks(id, *kill);
  } else if (const auto* collect = std::get_if<agent_effect::CollectStacks>(&effect)) {
    read_stacks(id, *collect);
  } else if (const auto* grace = std::get_if<agent_effect::ArmGrace>(&effect)) {
    on_node(id, grace->after,
            [this, id, over = agent_event::GraceOver{grace->job, grace->attempt}] {
              step_agent(id, over);
            });
  } else if (const auto* heartbeat = std::get_if<agent_effect::ArmHeartbeat>(&effect)) {
    const std::uint64_t timer = ++nodes_.at(id).heartbeat;
    on_node(id, heartbeat->interval,
            [this, id, timer, interval = heartbeat->interval] { beat(id, timer, interval); });
  } else if (std::holds_alternative<agent_effect::Leave>(effect)) {
    die(id);
  }
}

void World::beat(NodeId id, std::uint64_t timer, Duration interval) {
  if (nodes_.at(id).heartbeat != timer) return;
  step_agent(id, agent_event::HeartbeatDue{20000});
  on_node(id, interval, [this, id, timer, interval] { beat(id, timer, interval); });
}

void World::send_to_server(NodeId id, const AgentMessage& message) {
  Node& node = nodes_.at(id);
  const std::uint64_t stream = node.stream;
  if (stream == 0) return;
  node.last_to_server = std::max(node.last_to_server, now_ + between(1, 30));
  at(node.last_to_server - now_, [this, id, stream, message] {
    if (up_ && nodes_.at(id).stream == stream) take(id, message);
  });
}

void World::send_to_agent(NodeId id, const ServerMessage& message) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end() || found->second.stream == 0) return;
  Node& node = found->second;
  node.last_to_agent = std::max(node.last_to_agent, now_ + between(1, 30));
  on_node(id, node.last_to_agent - now_, [this, id, stream = node.stream, message] {
    if (nodes_.at(id).stream == stream) step_agent(id, agent_event::Received{message});
  });
}

void World::rank_born(NodeId id, RankKey key) {
  const auto asked = nodes_.at(id).unborn.extract(key);
  if (asked.empty()) return;  // it was stopped before
  const server_message::StartRanks& start = asked.mapped();
  if (prng_.chance(1, 400)) {
    RankExit exit{.rank = key.second, .code = 127, .error_type = "start_failed"};
    return step_agent(id, agent_event::RankEnded{start.job, start.attempt, exit});
  }
  check_birth(id, start);
  Training& training = training_.at(start.spec.name);
  training.fence = std::max(training.fence, start.attempt);
  const Rank rank{
      .start = start, .pid = ++pids_, .restored = training.committed, .step = training.committed};
  nodes_.at(id).ranks.emplace(key, rank);
  steps_[key.first][key.second] = rank.step;
  step_agent(id, agent_event::RankStarted{start.job, start.attempt, key.second, rank.pid});
  on_node(id, kStep, [this, id, key] { rank_runs(id, key); });
}

// A step is made when no peer is behind: what an all-reduce does.
void World::rank_runs(NodeId id, RankKey key) {
  const auto found = nodes_.at(id).ranks.find(key);
  if (found == nodes_.at(id).ranks.end() || found->second.hung) return;
  Rank& rank = found->second;
  Training& training = training_.at(rank.start.spec.name);
  auto& peers = steps_.at(key.first);
  bool together = peers.size() == rank.start.world_size();
  for (const auto& [peer, step] : peers) together = together && step >= rank.step;
  if (together && rank.step < training.steps) {
    peers[key.second] = ++rank.step;
    const bool commits = rank.step % kStepsPerCommit == 0 || rank.step == training.steps;
    if (commits && key.second == 0 && key.first.second >= training.fence)
      training.committed = std::max(training.committed, rank.step);
    step_agent(id, agent_event::PageRead{key.first.first, key.first.second, page_of(key, rank)});
    if (rank.step == training.poison)
      return rank_ends(id, key, {.rank = key.second, .code = 1, .error_type = "ValueError"});
  } else if (rank.step == training.steps) {
    return rank_ends(id, key, {.rank = key.second});
  }
  on_node(id, kStep, [this, id, key] { rank_runs(id, key); });
}

RankProgress World::page_of(const RankKey& key, const Rank& rank) {
  RankProgress page{.rank = key.second,
                    .step = rank.step,
                    .steps_this_attempt = rank.step - rank.restored,
                    .median_step_ns = kStep.ns,
                    .restored_step = rank.restored};
  if (const std::uint64_t committed = training_.at(rank.start.spec.name).committed;
      key.second == 0 && committed > 0)
    page.committed_step = committed;
  return page;
}

void World::rank_ends(NodeId id, RankKey key, RankExit exit) {
  auto& ranks = nodes_.at(id).ranks;
  const auto found = ranks.find(key);
  if (found == ranks.end()) return;
  exit.progress = page_of(key, found->second);
  ranks.erase(found);
  if (!exit.clean()) peers_notice(key);
  step_agent(id, agent_event::RankEnded{key.first.first, key.first.second, exit});
}

// Most of those that wait for the one that is gone fail in their collective; the others wait on.
void World::peers_notice(RankKey gone) {
  for (const auto& [id, node] : nodes_)
    for (const auto& [key, rank] : node.ranks) {
      if (key.first != gone.first || key == gone || !prng_.chance(3, 5)) continue;
      on_node(id, between(50, 1500), [this, id = id, key = key] {
        const auto found = nodes_.at(id).ranks.find(key);
        if (found == nodes_.at(id).ranks.end() || found->second.hung) return;
        rank_ends(id, key,
                  {.rank = key.second,
                   .code = 1,
                   .error_type = "RuntimeError",
                   .error_message = "Connection closed by peer"});
      });
    }
}

void World::kill_ranks(NodeId id, const agent_effect::KillRanks& kill) {
  for (const auto& [key, start] : nodes_.at(id).unborn) {
    if (key.first != std::pair(kill.job, kill.attempt)) continue;
    on_node(id, {}, [this, id, key = key] {
      if (nodes_.at(id).unborn.erase(key) == 0) return;
      const RankExit exit{.rank = key.second, .code = 127, .error_type = "start_failed"};
      step_agent(id, agent_event::RankEnded{key.first.first, key.first.second, exit});
    });
  }
  for (const auto& [key, rank] : nodes_.at(id).ranks) {
    if (key.first != std::pair(kill.job, kill.attempt)) continue;
    if (kill.signal == SIGTERM && prng_.chance(1, 3)) continue;  // it does not listen
    const Duration until = rank.stuck ? seconds(30) : between(1, 50);
    on_node(id, until, [this, id, key = key, signal = kill.signal] {
      rank_ends(id, key, {.rank = key.second, .signal = signal});
    });
  }
}

void World::read_stacks(NodeId id, const agent_effect::CollectStacks& collect) {
  const RankKey key{{collect.job, collect.attempt}, collect.rank};
  on_node(id, between(10, 200), [this, id, key] {
    const auto rank = nodes_.at(id).ranks.find(key);
    if (rank == nodes_.at(id).ranks.end()) return;
    step_agent(id, agent_event::StacksRead{{.job = key.first.first,
                                            .attempt = key.first.second,
                                            .rank = key.second,
                                            .answered = !rank->second.hung}});
  });
}

void World::die(NodeId id) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end() || found->second.gone) return;
  Node& node = found->second;
  node.alive = false;
  node.gone = true;
  node.stream = 0;
  node.backlog.clear();
  const auto ranks = std::exchange(node.ranks, {});
  for (const auto& [key, rank] : ranks) peers_notice(key);
}

}  // namespace holdfast
