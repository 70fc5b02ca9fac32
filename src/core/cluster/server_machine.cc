#include "core/cluster/server_machine.h"

#include <algorithm>
#include <utility>

#include "base/digest.h"

namespace holdfast {
namespace {

// What a step did, as a fingerprint: a later version that replays the entry and does something else
// must notice.
std::uint64_t digest_of(const Effects& effects) {
  Digest digest;
  for (const Effect& effect : effects) {
    digest.add(std::to_string(effect.index()));
    if (const auto* send = std::get_if<effect::Send>(&effect)) {
      digest.add(to_string(send->node));
      digest.add(std::to_string(send->message.index()));
    } else if (const auto* audit = std::get_if<effect::Audit>(&effect)) {
      digest.add(audit->kind);
    }
  }
  return digest.value();
}

// One that is cordoned is a member until its ranks are dead.
bool may_speak(const NodeRecord& node) {
  return node.is_live() || node.state == NodeState::kCordoned ||
         node.state == NodeState::kResetting || node.state == NodeState::kDeepHealthCheck ||
         node.state == NodeState::kLifecycleScript;
}

}  // namespace

std::uint64_t ServerMachine::replay(Instant at, const Event& event) {
  Effects effects;
  controller_.step(at, event, effects);
  return digest_of(effects);
}

void ServerMachine::recovered(Instant now) {
  last_awake_ = now;
  liveness_.reset(controller_.state().spec.silence_max);
  watch_members(now);
  submit(event::ServerStarted{});
}

// After a pause of our own: whom we did not listen to is judged after the queued messages are read.
void ServerMachine::awake(Instant now) {
  if (now - last_awake_ > kOwnPauseMax) {
    liveness_.start_afresh(now);
    progress_.start_afresh(now);
  }
  last_awake_ = now;
}

void ServerMachine::watch_members(Instant now) {
  for (const auto& [id, node] : controller_.state().nodes)
    if (may_speak(node) && !node.silent) liveness_.seen(id, now);
}

void ServerMachine::take(Instant now, NodeId node, AgentMessage message) {
  if (const auto* heartbeat = std::get_if<agent_message::Heartbeat>(&message))
    return heard_of(now, node, heartbeat);
  heard_of(now, node, nullptr);
  if (auto* hello = std::get_if<agent_message::Hello>(&message)) {
    submit(event::NodeJoined{std::move(*hello)});
  } else if (auto* started = std::get_if<agent_message::RanksStarted>(&message)) {
    submit(event::RanksStarted{node, std::move(*started)});
  } else if (auto* exited = std::get_if<agent_message::RankExited>(&message)) {
    submit(event::RankExited{node, exited->job, exited->attempt, std::move(exited->exit)});
  } else if (auto* drained = std::get_if<agent_message::AttemptDrained>(&message)) {
    submit(event::AttemptDrained{node, drained->job, drained->attempt});
  } else if (auto* fault = std::get_if<agent_message::FaultSeen>(&message)) {
    submit(event::NodeFault{node, std::move(fault->fault), fault->present});
  } else if (auto* cleared = std::get_if<agent_message::FaultCleared>(&message)) {
    submit(event::NodeFaultCleared{node, std::move(cleared->kind), std::move(cleared->device)});
  } else if (auto* reset = std::get_if<agent_message::DevicesReset>(&message)) {
    submit(event::DevicesReset{node, reset->ok, std::move(reset->detail)});
  } else if (auto* stacks = std::get_if<agent_message::StacksCollected>(&message)) {
    submit(event::StacksCollected{node, std::move(*stacks)});
  } else if (auto* report = std::get_if<agent_message::CheckReport>(&message)) {
    submit(event::CheckReported{node, std::move(*report)});
  } else if (auto* lifecycle = std::get_if<agent_message::LifecycleReported>(&message)) {
    submit(event::LifecycleReported{node, std::move(*lifecycle)});
  }
}

void ServerMachine::heard_of(Instant now, NodeId id, const agent_message::Heartbeat* heartbeat) {
  awake(now);
  const NodeRecord* node = controller_.node(id);
  if (node == nullptr || !may_speak(*node)) return;
  liveness_.seen(id, now);
  if (heartbeat == nullptr) return;
  if (heartbeat->rendezvous_port != node->rendezvous_port)
    submit(event::RendezvousMoved{id, heartbeat->rendezvous_port});
  if (heartbeat->progress.empty()) return;
  const auto job = controller_.state().jobs.find(heartbeat->job);
  if (job == controller_.state().jobs.end() || !job->second.is_live() ||
      job->second.attempt.number != heartbeat->attempt)
    return;
  for (const RankProgress& progress : heartbeat->progress)
    if (auto marked = progress_.seen(job->second, id, progress, now)) submit(std::move(*marked));
}

void ServerMachine::look(Instant now) {
  awake(now);
  for (auto it = timers_.begin(); it != timers_.end();) {
    if (it->second > now) {
      ++it;
      continue;
    }
    submit(event::TimerFired{it->first});
    it = timers_.erase(it);
  }
  auto silent = liveness_.take_silent(now);
  std::erase_if(silent, [this](NodeId id) {  // lost already, for another reason
    const NodeRecord* node = controller_.node(id);
    return node == nullptr || node->state == NodeState::kGone;
  });
  if (!silent.empty())
    submit(event::NodesLost{
        std::move(silent),
        "not heard of for " + std::to_string(controller_.state().spec.silence_max.ms()) + " ms"});
  for (event::RanksStalled& stalled : progress_.take_stalled(now)) {
    const auto job = controller_.state().jobs.find(stalled.job);
    if (job != controller_.state().jobs.end() && job->second.is_live() &&
        job->second.attempt.number == stalled.attempt)
      submit(std::move(stalled));
  }
}

Instant ServerMachine::next_look() const {
  Instant next = last_awake_ + kLookInterval;
  for (const auto& [id, at] : timers_) next = std::min(next, at);
  if (const auto at = liveness_.next_deadline()) next = std::min(next, *at);
  if (const auto at = progress_.next_deadline()) next = std::min(next, *at);
  return next;
}

std::optional<Instant> ServerMachine::next_timer() const {
  std::optional<Instant> next;
  for (const auto& [id, at] : timers_) next = next ? std::min(*next, at) : at;
  return next;
}

std::vector<ServerMachine::Entry> ServerMachine::turn(Instant now) {
  awake(now);
  std::vector<Entry> entries;
  for (Event& event : std::exchange(inbox_, {})) {
    Effects effects;
    controller_.step(now, event, effects);
    Entry entry{now, std::move(event), digest_of(effects), {}};
    for (Effect& effect : effects) {
      if (auto* audit = std::get_if<effect::Audit>(&effect)) {
        entry.audits.push_back(std::move(*audit));
      } else if (const auto* timer = std::get_if<effect::ArmTimer>(&effect)) {
        timers_[timer->timer] = timer->at;
      } else {
        waiting_.push_back(std::move(effect));
      }
    }
    absorb(entry.event, now);
    entries.push_back(std::move(entry));
  }
  return entries;
}

// What the monitors learn from a step.
void ServerMachine::absorb(const Event& event, Instant at) {
  if (std::holds_alternative<event::ClusterMade>(event)) {
    liveness_.reset(controller_.state().spec.silence_max);
    watch_members(at);
  } else if (const auto* joined = std::get_if<event::NodeJoined>(&event)) {
    const NodeRecord* node = controller_.node(joined->hello.node);
    if (node != nullptr && may_speak(*node)) liveness_.seen(node->id, at);
  } else if (const auto* exited = std::get_if<event::RankExited>(&event)) {
    progress_.ended(exited->job, exited->attempt, exited->exit.rank);
  }
}

Effects ServerMachine::durable(Instant now) {
  awake(now);
  for (const Effect& effect : waiting_) {
    if (const auto* send = std::get_if<effect::Send>(&effect)) {
      if (const auto* forget = std::get_if<server_message::ForgetJob>(&send->message))
        progress_.forget(forget->job);
    } else if (const auto* terminate = std::get_if<effect::Terminate>(&effect)) {
      liveness_.forget(terminate->node);
    } else if (const auto* reboot = std::get_if<effect::Reboot>(&effect)) {
      liveness_.forget(reboot->node);
    }
  }
  return std::exchange(waiting_, {});
}

}  // namespace holdfast
