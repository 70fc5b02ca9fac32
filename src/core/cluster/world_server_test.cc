// tidy: allow test-place, because what it tests is the controller and the agents together.
// The world's control plane: what apps/ does around the core, and its crashes.

#include "core/cluster/world_test.h"
#include "model/codec.h"

namespace holdfast {

void World::make_cluster() {
  ClusterSpec spec{.name = "world"};
  spec.nodes = 2 + static_cast<std::uint32_t>(prng_.below(4));
  spec.spares = static_cast<std::uint32_t>(prng_.below(3));
  if (prng_.chance(1, 3))
    spec.machines_max = spec.nodes + spec.spares + static_cast<std::uint32_t>(prng_.below(3));
  adds_nodes_ = prng_.chance(1, 2);
  apply(event::ClusterMade{spec});
}

void World::submit_job(const std::string& name, std::uint32_t nodes) {
  JobSpec spec{.name = name, .nodes_min = nodes, .nodes_max = nodes};
  if (nodes > 1 && prng_.chance(1, 2)) spec.nodes_min = nodes / 2;
  spec.ranks_per_node = 1 + static_cast<std::uint32_t>(prng_.below(2));
  spec.command = {"train"};
  spec.hang.stall_min = seconds(5);
  spec.request_token = name;
  Training& training = training_[name];
  training.steps = 100 + prng_.below(200);
  if (prng_.chance(1, 12)) training.poison = 20 + prng_.below(80);
  apply_if_up(event::JobSubmitted{spec});
  // The client asks again until it has heard that its job is there.
  if (controller_.find_job_by_token(name) == nullptr || prng_.chance(1, 4))
    at(seconds(3), [this, spec] { apply_if_up(event::JobSubmitted{spec}); });
}

void World::apply_if_up(const Event& event) {
  if (up_) apply(event);
}

void World::apply(const Event& event) {
  journal_.emplace_back(now_, encode(event));
  Effects effects;
  controller_.step(now_, event, effects);
  ++tally_.events;
  check_step();
  if (const auto* joined = std::get_if<event::NodeJoined>(&event))
    liveness_.seen(joined->hello.node, now_);
  if (const auto* exited = std::get_if<event::RankExited>(&event))
    progress_.ended(exited->job, exited->attempt, exited->exit.rank);
  if (std::holds_alternative<event::RanksStalled>(event)) ++tally_.hangs;
  // A crash comes between the journal and any of the effects.
  const std::size_t done = crash_soon_ ? prng_.below(effects.size() + 1) : effects.size();
  for (std::size_t i = 0; i < done; ++i) perform(effects[i]);
  if (crash_soon_) crash();
}

void World::perform(const Effect& effect) {
  if (const auto* send = std::get_if<effect::Send>(&effect)) {
    send_to_agent(send->node, send->message);
    if (const auto* forget = std::get_if<server_message::ForgetJob>(&send->message))
      progress_.forget(forget->job);
    if (std::holds_alternative<server_message::Fenced>(send->message)) {
      ++tally_.fenced;
      if (prng_.chance(1, 2)) break_stream(send->node);
    }
  } else if (const auto* made = std::get_if<effect::Provision>(&effect)) {
    provision(made->node);
  } else if (const auto* ended = std::get_if<effect::Terminate>(&effect)) {
    liveness_.forget(ended->node);
    terminate(ended->node);
  } else if (const auto* timer = std::get_if<effect::ArmTimer>(&effect)) {
    timers_[timer->timer] = timer->at;
  }
}

void World::take(NodeId node, const AgentMessage& message) {
  if (const auto* heartbeat = std::get_if<agent_message::Heartbeat>(&message))
    return heard_of(node, heartbeat);
  heard_of(node, nullptr);
  if (const auto* hello = std::get_if<agent_message::Hello>(&message))
    apply(event::NodeJoined{*hello});
  else if (const auto* started = std::get_if<agent_message::RanksStarted>(&message))
    apply(event::RanksStarted{node, *started});
  else if (const auto* exited = std::get_if<agent_message::RankExited>(&message))
    apply(event::RankExited{node, exited->job, exited->attempt, exited->exit});
  else if (const auto* drained = std::get_if<agent_message::AttemptDrained>(&message))
    apply(event::AttemptDrained{node, drained->job, drained->attempt});
  else if (const auto* fault = std::get_if<agent_message::FaultSeen>(&message))
    apply(event::NodeFault{node, fault->fault});
  else if (const auto* stacks = std::get_if<agent_message::StacksCollected>(&message))
    apply(event::StacksCollected{node, *stacks});
}

void World::heard_of(NodeId id, const agent_message::Heartbeat* heartbeat) {
  if (!is_member(id)) return;
  liveness_.seen(id, now_);
  if (heartbeat == nullptr) return;
  const auto job = controller_.state().jobs.find(heartbeat->job);
  if (job == controller_.state().jobs.end() || !job->second.is_live() ||
      job->second.attempt.number != heartbeat->attempt)
    return;
  std::vector<event::Progressed> marks;
  for (const RankProgress& progress : heartbeat->progress)
    if (auto mark = progress_.seen(job->second, id, progress, now_)) marks.push_back(*mark);
  for (const event::Progressed& mark : marks) apply_if_up(mark);
}

// Timers and monitors, as the shell looks at them.
void World::tick() {
  at(milliseconds(100), [this] { tick(); });
  if (!up_) return;
  std::vector<TimerId> due;
  for (const auto& [timer, when] : timers_)
    if (when <= now_) due.push_back(timer);
  for (const TimerId& timer : due) {
    timers_.erase(timer);
    apply_if_up(event::TimerFired{timer});
  }
  if (!up_) return;
  if (const auto silent = liveness_.take_silent(now_); !silent.empty()) {
    apply(event::NodesLost{silent, "not heard of"});
    // One that is heard of again has to say Hello first.
    for (const NodeId node : silent) break_stream(node);
  }
  if (!up_) return;
  for (const event::RanksStalled& stalled : progress_.take_stalled(now_)) apply_if_up(stalled);
  if (up_) operate();
}

// A person who reacts to alerts, slowly.
void World::operate() {
  if (!controller_.state().breaker.open)
    breaker_seen_ = now_;
  else if (now_ - breaker_seen_ > seconds(15)) {
    ++tally_.breakers;
    return apply(event::BreakerCloseAsked{"operator"});
  }
  if (!adds_nodes_ || now_ - node_added_ < seconds(20)) return;
  for (const auto& [id, job] : controller_.state().jobs) {
    if (job.state != JobState::kQueued || job.reason.find("node add") == std::string::npos)
      continue;
    node_added_ = now_;
    return apply(event::NodeAddAsked{"operator"});
  }
}

// Everything in memory is gone, and whatever was on its way.
void World::crash() {
  crash_soon_ = false;
  up_ = false;
  ++tally_.crashes;
  for (auto& [id, node] : nodes_) break_stream(id);
  progress_ = ProgressMonitor{};
  liveness_.reset(ClusterSpec{}.silence_max);
  timers_.clear();
  at(between(100, 4000), [this] { restart(); });
}

void World::restart() {
  Controller recovered;
  if (replayed_digest(&recovered) != controller_.digest())
    return fail("the journal's replay gives another state than the one that crashed");
  controller_ = std::move(recovered);
  up_ = true;
  for (const auto& [id, node] : controller_.state().nodes)
    if (node.is_live() && !node.silent) liveness_.seen(id, now_);
  apply(event::ServerStarted{});
}

// The machine provider, which outlives the control plane. Both requests are idempotent.
void World::provision(NodeId id) {
  const auto [found, made] = nodes_.try_emplace(id);
  if (!made) {
    if (!found->second.alive && found->second.gone)
      at(between(10, 100), [this, id] {
        apply_if_up(event::NodesLost{{id}, "its machine ended"});
      });
    return;
  }
  at(between(300, 4000), [this, id] {
    Node& node = nodes_.at(id);
    if (node.gone) return;  // given back before it came
    if (prng_.chance(1, 15)) {
      node.gone = true;
      return apply_if_up(event::NodesLost{{id}, "its machine did not start"});
    }
    node.alive = true;
    connect(id);
  });
}

void World::terminate(NodeId id) {
  die(id);
  at(between(50, 1000), [this, id] { apply_if_up(event::NodesLost{{id}, "given back"}); });
}

void World::break_stream(NodeId id) {
  const auto node = nodes_.find(id);
  if (node == nodes_.end() || node->second.stream == 0) return;
  node->second.stream = 0;
  on_node(id, between(10, 300), [this, id] { connect(id); });
}

}  // namespace holdfast
