// Nodes, places, spares and the circuit breaker.

#include <algorithm>

#include "core/cluster/controller.h"

namespace holdfast {

using effect::Severity;

void Controller::on(const event::ClusterMade& made) {
  const bool in_use = std::any_of(state_.nodes.begin(), state_.nodes.end(), [](const auto& entry) {
    return entry.second.state != NodeState::kGone;
  });
  if (in_use) return;
  state_.spec = made.spec;
  state_.groups.clear();
  state_.places_made = 0;
  for (auto& [id, node] : state_.nodes) node.left_place = 0;
  state_.software_update.reset();
  index_ = {};
  // What earlier machines of the cluster used up is not held against it.
  if (state_.spec.machines_max != 0) state_.spec.machines_max += state_.nodes_made;
  state_.breaker = {};
  state_.down = false;
  state_.phase = ClusterPhase::kCreating;
  state_.failure.clear();
  for (InstanceGroup& group : state_.spec.groups) {
    make_group(group);
    add_places(group, group.count);
  }
  refill_pool();
  arm_capacity_limit();
  begin_scaling();
  audit(Severity::kInfo, "cluster.made",
        "cluster '" + made.spec.name + "': " + std::to_string(made.spec.nodes()) + " nodes, " +
            std::to_string(made.spec.spares()) + " spares");
}

void Controller::add_node(std::uint32_t group, std::uint32_t place) {
  const NodeId id{++state_.nodes_made};
  NodeRecord node{.id = id, .group = group, .place = place, .since = now_, .made = now_};
  node.reason = place == 0 ? "for the warm pool" : "for place " + std::to_string(place);
  index_.add(node);
  index_node(state_.nodes.emplace(id, std::move(node)).first->second);
  out_->push_back(effect::Provision{id});
}

void Controller::set_node(NodeRecord& node, NodeState to, std::string reason) {
  if (to == NodeState::kGone) index_.remove_software(node);
  change(node, [to](NodeRecord& changed) {
    changed.state = to;
    changed.no_capacity = false;
  });
  if (node.updating &&
      (to == NodeState::kHealthy || to == NodeState::kReplacing || to == NodeState::kGone))
    update_over(node, reason);
  if (to == NodeState::kGone) forget_version_of(node);
  node.reason = std::move(reason);
  node.since = now_;
}

void Controller::set_place(NodeRecord& node, std::uint32_t place) {
  if (node.place == place) return;
  if (place != 0) forget_who_left(place);
  change(node, [place](NodeRecord& changed) {
    changed.left_place = place == 0 ? changed.place : 0;
    changed.place = place;
  });
}

void Controller::forget_who_left(std::uint32_t place) {
  const auto who = index_.left.find(place);
  if (who != index_.left.end())
    change(*find_node(who->second), [](NodeRecord& changed) { changed.left_place = 0; });
}

void Controller::set_holder(NodeRecord& node, JobId job) {
  change(node, [job](NodeRecord& changed) { changed.job = job; });
}

// What was asked of the world and may not have been done: effects of the last moments before a
// crash are repeated, timers live only in memory.
void Controller::on(const event::ServerStarted&) {
  for (auto& [id, node] : state_.nodes) {
    if (node.state == NodeState::kProvisioning) {
      change(node, [](NodeRecord& changed) { changed.no_capacity = false; });
      out_->push_back(effect::Provision{id});
    }
    if (node.state == NodeState::kReplacing) out_->push_back(effect::Terminate{id});
    if (node.state == NodeState::kResetting || node.state == NodeState::kRebooting)
      resend_repair(node);
    if (node.state == NodeState::kLifecycleScript) resend_lifecycle(node, 0);
  }
  for (const JobId id : open_jobs_) {
    const JobRecord& job = state_.jobs.at(id);
    const AttemptRecord& attempt = job.attempt;
    if (attempt.collecting_stacks)
      arm(TimerKind::kStacks, job, kStacksTimeout);
    else if (!attempt.not_drained.empty())
      arm(TimerKind::kDrain, job, kDrainTimeout);
    if (job.state == JobState::kStarting) arm(TimerKind::kStart, job, kStartTimeout);
    if (job.state == JobState::kRunning && job.incident && !makes_steps(job))
      arm(TimerKind::kQuiet, job, kQuietTime);
    if (job.state == JobState::kQueued && job.not_before)
      arm(TimerKind::kBackoff, job, std::max(Duration{}, *job.not_before - now_));
  }
  resume_groups();
  for (auto& [id, run] : state_.checks) {
    if (run.state == CheckRunState::kRunning) begin_step_anew(run);
    if (run.state != CheckRunState::kEnded) check_soon(id);
  }
  audit(Severity::kWarning, "server.started", "the control plane has restarted from its journal");
}

void Controller::on(const event::NodeJoined& joined) {
  const agent_message::Hello& hello = joined.hello;
  NodeRecord* node = find_node(hello.node);
  if (node == nullptr || node->state == NodeState::kGone || node->state == NodeState::kReplacing) {
    const std::string reason = to_string(hello.node) + " is no member any more" +
                               (node == nullptr ? std::string() : ": " + node->reason);
    send(hello.node, server_message::Fenced{reason});
    audit(Severity::kWarning, "node.fenced", reason + "; told to kill its ranks and leave",
          hello.node);
    return;
  }
  // The machine before its reboot: what it says now is not the news that is waited for.
  if (node->state == NodeState::kRebooting && node->pid == hello.pid) return;
  send(hello.node, server_message::Welcome{state_.spec.heartbeat_interval});
  node->address = hello.address;
  node->rendezvous_port = hello.rendezvous_port;
  node->pid = hello.pid;
  node->cpus = hello.cpus;
  node->memory_bytes = hello.memory_bytes;
  node->snapshot_address = hello.snapshot_address;
  if (node->software != hello.software || node->instance_type != hello.instance_type) {
    index_.remove_software(*node);
    node->software = hello.software;
    node->instance_type = hello.instance_type;
    index_.add_software(*node);
  }
  node->location = hello.location;
  if (node->state == NodeState::kProvisioning) {
    welcome_machine(*node);
    audit(Severity::kInfo, "node.joined",
          to_string(node->id) + " joined " +
              (node->place == 0 ? "as a spare" : "for place " + std::to_string(node->place)),
          node->id);
  } else if (node->state == NodeState::kSuspect && node->silent) {
    node->silent = false;
    if (node->check_status != CheckStatus::kFailed)
      set_node(*node, NodeState::kHealthy, "is heard of again");
    audit(Severity::kInfo, "node.back", to_string(node->id) + " is heard of again", node->id);
    hold_back(*node);
  } else if (node->state == NodeState::kRebooting) {
    let_back(*node, "rebooted");
  } else if (node->state == NodeState::kResetting) {
    resend_repair(*node);
  } else if (node->state == NodeState::kLifecycleScript) {
    resend_lifecycle(*node, hello.lifecycle_cut_off);
  }
  reconcile(*node, hello.attempts);
  resend_check(*node);
  fill_places();
  refill_pool();  // too many had failed before this one came
  start_queued_jobs();
  warm_up(*node);
}

// Brings what a node runs and what it should run together, whatever was lost on the way.
void Controller::reconcile(NodeRecord& node, const std::vector<AttemptReport>& reports) {
  bool reported = false;
  for (const AttemptReport& report : reports) {
    JobRecord* job = live_attempt(report.job, report.attempt);
    if (job == nullptr || node.job != report.job) {
      if (!report.drained)
        send(node.id, server_message::StopRanks{report.job, report.attempt, Duration{}});
      const auto known = state_.jobs.find(report.job);
      if (known == state_.jobs.end() || known->second.has_ended())
        send(node.id, server_message::ForgetJob{report.job});
      continue;
    }
    reported = true;
    if (report.running.size() + report.exited.size() == job->spec.ranks_per_node)
      on(event::RanksStarted{node.id, {report.job, report.attempt, {}}});
    for (const RankExit& exit : report.exited)
      on(event::RankExited{node.id, report.job, report.attempt, exit});
    if (report.drained) drained_or_gone(*job, node.id);
  }
  if (!node.job) return;
  JobRecord& job = state_.jobs.at(node.job);
  if (job.is_live() && !reported && !job.attempt.not_started.contains(node.id))
    first_sign(job, to_string(node.id) + " does not run its ranks any more");
  resend_wanted(node);
}

void Controller::resend_wanted(NodeRecord& node) {
  if (!node.job) return;
  const JobRecord& job = state_.jobs.at(node.job);
  if (job.is_live() && job.attempt.not_started.contains(node.id))
    send_start(job, static_cast<std::size_t>(
                        std::find(job.attempt.nodes.begin(), job.attempt.nodes.end(), node.id) -
                        job.attempt.nodes.begin()));
  else if (job.attempt.collecting_stacks)
    send(node.id, server_message::CollectStacks{job.id, job.attempt.number});
  else if (job.attempt.not_drained.contains(node.id))
    send(node.id, server_message::StopRanks{job.id, job.attempt.number, Duration{}});
}

// A spare that has the framework imported takes over in the time of a fork.
void Controller::warm_up(const NodeRecord& node) {
  if (node.state != NodeState::kHealthy || node.job) return;
  for (const JobId id : open_jobs_)
    send(node.id, server_message::WarmUp{id, state_.jobs.at(id).spec});
}

void Controller::on(const event::NodesLost& lost) {
  std::vector<NodeId> members;
  for (const NodeId id : lost.nodes) {
    const NodeRecord* node = find_node(id);
    if (node != nullptr && node->is_live()) members.push_back(id);
  }
  if (lost.ended || breaker_lets(members)) {
    // All of them are out before any job looks for nodes.
    for (const NodeId id : members) set_node(*find_node(id), NodeState::kSuspect, lost.reason);
    for (const NodeId id : members) lose_node(*find_node(id), lost.reason);
  } else {
    for (const NodeId id : members) {
      NodeRecord& node = *find_node(id);
      node.silent = true;
      set_node(node, NodeState::kSuspect, lost.reason);
    }
  }
  for (const NodeId id : lost.nodes) {  // no members already, so the breaker has no say
    NodeRecord* node = find_node(id);
    if (node != nullptr && !node->is_live() && node->state != NodeState::kGone)
      lose_node(*node, lost.reason);
  }
  if (state_.breaker.open) settle_node_incidents();
  fill_places();
  refill_pool();
  start_queued_jobs();
}

void Controller::lose_node(NodeRecord& node, const std::string& reason) {
  const NodeState before = node.state;
  const JobId job_id = node.job;
  set_place(node, 0);
  set_holder(node, {});
  set_node(node, NodeState::kGone, reason);
  if (before == NodeState::kProvisioning || before == NodeState::kLifecycleScript)
    provisioning_failed(node, reason);
  if (before == NodeState::kDeepHealthCheck) checked_node_lost(node, reason);
  if (before == NodeState::kReplacing) {
    audit(Severity::kInfo, "node.gone", to_string(node.id) + " has been given back", node.id);
    capacity_is_back();
    return;
  }
  audit(Severity::kWarning, "node.lost", to_string(node.id) + " was lost: " + reason, node.id,
        job_id);
  // It may live, and talk: stuck ranks, a start that took too long, a thaw on an unbroken stream.
  send(node.id, server_message::Fenced{to_string(node.id) + " is no member any more: " + reason});
  if (!job_id) return;
  JobRecord& job = state_.jobs.at(job_id);
  job.attempt.nodes_lost.push_back(node.id);
  if (before != NodeState::kCordoned)  // else the reason is on record already
    job.attempt.node_faults.push_back(
        {to_string(node.id) + " was lost: " + reason, node.id, std::nullopt, now_});
  if (job.is_live())
    first_sign(job, to_string(node.id) + " was lost: " + reason);
  else if (job.incident)
    tell(job, to_string(node.id) + " was lost too: " + reason);
  drained_or_gone(job, node.id);
}

// The node gets no more work; its place goes to a spare at once; when its ranks are dead it leaves
// for its cure.
void Controller::cordon_node(NodeRecord& node, const std::string& reason, const Evidence& evidence,
                             Action cure) {
  node.health.due = cure;
  set_node(node, NodeState::kCordoned, reason);
  set_place(node, 0);
  audit(Severity::kWarning, "node.cordoned", to_string(node.id) + " is cordoned: " + reason,
        node.id, node.job);
  fill_places();
  if (!node.job) {
    retire_node(node);
    return;
  }
  JobRecord& job = state_.jobs.at(node.job);
  job.attempt.node_faults.push_back(evidence);
  if (job.is_live())
    first_sign(job, reason);
  else if (job.incident)
    tell(job, reason);
}

// The oldest one; one whose software differs from that of most only if there is no other.
NodeRecord& Controller::best_spare(const NodeIndex::Group& group) {
  for (const NodeId id : group.idle_spares)
    if (NodeRecord& spare = *find_node(id); index_.drift_of(spare).empty()) return spare;
  return *find_node(*group.idle_spares.begin());
}

void Controller::fill_places() {
  for (auto& [number, group] : index_.groups) {
    while (!group.empty_places.empty() && !group.idle_spares.empty()) {
      const std::uint32_t place = *group.empty_places.begin();
      NodeRecord& spare = best_spare(group);
      set_place(spare, place);
      audit(Severity::kInfo, "node.took_place",
            to_string(spare.id) + " takes place " + std::to_string(place), spare.id);
    }
  }
}

void Controller::refill_pool() {
  if (state_.down) return;
  for (const InstanceGroup& group : state_.spec.groups) refill(group);
}

void Controller::refill(const InstanceGroup& group) {
  GroupRecord& record = *find_group(group.number);
  const NodeIndex::Group& members = index_.groups[group.number];
  // A bad node that is not to be replaced by itself keeps what it has.
  const auto there = [&] {
    return members.members() + (state_.spec.recovers_nodes ? 0 : members.broken);
  };
  const auto stop = [&](const std::string& why) {
    audit(Severity::kAlert, "pool.not_refilled", why);
    if (record.failure.empty()) record.failure = why;
  };
  while (there() < group.count + group.spares) {
    if (record.provisioning_failures >= kProvisioningFailuresMax) {
      stop(std::to_string(record.provisioning_failures) +
           " machines in a row failed before they joined; look at their agent.log, then "
           "`holdfast node add`");
      if (state_.spec.is_continuous) arm_capacity_retry(group.number);
      return;
    }
    if (state_.spec.machines_max != 0 && state_.nodes_made >= state_.spec.machines_max)
      return stop("the provider has no more machines (" + std::to_string(state_.spec.machines_max) +
                  " used); bring one with `holdfast node add`");
    add_node(group.number, 0);
  }
}

void Controller::on(const event::NodeReplaceAsked& asked) {
  NodeRecord* node = find_node(asked.node);
  if (node == nullptr) return;
  const std::string reason = to_string(asked.node) + ": replacement asked for by " + asked.by;
  if (node->state == NodeState::kLifecycleScript) return start_over(*node, reason, false);
  if (!node->is_live() && node->state != NodeState::kCordoned) return;
  node->health.due_for.reset();
  cordon_node(*node, reason, {reason, asked.node, std::nullopt, now_}, Action::kReplaceNode);
  start_queued_jobs();
}

void Controller::on(const event::RendezvousMoved& moved) {
  NodeRecord* node = find_node(moved.node);
  if (node != nullptr) node->rendezvous_port = moved.port;
}

void Controller::on(const event::NodeRebootAsked& asked) {
  NodeRecord* node = find_node(asked.node);
  if (node == nullptr || !(node->is_live() || node->state == NodeState::kCordoned)) return;
  const std::string reason = to_string(asked.node) + ": reboot asked for by " + asked.by;
  node->health.due_for.reset();
  cordon_node(*node, reason, {reason, asked.node, std::nullopt, now_, CauseClass::kScheduling},
              Action::kRebootNode);
  start_queued_jobs();
}

void Controller::on(const event::DownAsked& asked) {
  state_.down = true;
  set_phase(ClusterPhase::kDeleting, "asked for by " + asked.by);
  // Nodes first, so that the end of one job starts no other and provisions nothing.
  for (auto& [id, node] : state_.nodes) {
    if (node.state == NodeState::kGone) continue;
    set_place(node, 0);
    set_node(node, NodeState::kGone, "the cluster was taken down by " + asked.by);
    out_->push_back(effect::Terminate{id});
  }
  for (auto& [id, run] : state_.checks) run.state = CheckRunState::kEnded;
  for (auto& [id, job] : state_.jobs)
    if (!job.has_ended())
      end_job(job, JobState::kStopped, "the cluster was taken down by " + asked.by, 130);
}

void Controller::on(const event::NodeAddAsked& asked) {
  for (GroupRecord& group : state_.groups) {
    group.provisioning_failures = 0;
    group.failure.clear();
  }
  capacity_is_back();
  if (state_.spec.machines_max != 0)
    ++state_.spec.machines_max;
  else if (!state_.spec.groups.empty())
    ++state_.spec.groups.front().spares;
  audit(Severity::kInfo, "node.add_asked", "one machine more, asked for by " + asked.by);
  refill_pool();
}

// Many nodes bad at one moment is rarely many bad nodes: it is a switch, a driver roll-out or our
// own network, and taking them all out makes it worse. A machine that has ended is no such case.
bool Controller::breaker_lets(const std::vector<NodeId>& bad) {
  Breaker& breaker = state_.breaker;
  if (bad.empty()) return true;
  std::erase_if(breaker.recent, [this](const Breaker::Mark& mark) {
    return now_ - mark.at > state_.spec.breaker_window;
  });
  for (const NodeId node : bad) {
    const bool known = std::any_of(breaker.recent.begin(), breaker.recent.end(),
                                   [&](const Breaker::Mark& mark) { return mark.node == node; });
    if (!known) breaker.recent.push_back({node, now_});
  }
  const std::size_t members = std::size_t{state_.spec.nodes()} + state_.spec.spares();
  const bool many = breaker.recent.size() > 1;  // one node of one is no mass failure
  if (!breaker.open && many &&
      breaker.recent.size() * 100 > members * state_.spec.breaker_percent) {
    breaker.open = true;
    breaker.since = now_;
    audit(Severity::kAlert, "breaker.open",
          std::to_string(breaker.recent.size()) + " of " + std::to_string(members) +
              " nodes look bad at once: nothing is cordoned or replaced until an operator has "
              "looked; then `holdfast breaker close`");
  }
  return !breaker.open;
}

void Controller::on(const event::BreakerCloseAsked& asked) {
  if (!state_.breaker.open) return;
  state_.breaker = {};
  audit(Severity::kInfo, "breaker.closed", "the breaker was closed by " + asked.by);
  std::vector<NodeId> suspects;
  for (const auto& [id, node] : state_.nodes)
    if (node.state == NodeState::kSuspect) suspects.push_back(id);
  for (auto& [id, node] : state_.nodes)
    if (node.state == NodeState::kHealthy) hold_back(node);
  for (const NodeId id : suspects) {
    NodeRecord& node = *find_node(id);
    const std::string reason = node.reason;
    if (node.silent)
      lose_node(node, reason);
    else if (node.health.due != Action::kNone)  // else it is held back, by what lasts
      cordon_node(node, reason, {reason, id, std::nullopt, now_}, node.health.due);
  }
  settle_node_incidents();
  fill_places();
  refill_pool();
  start_queued_jobs();
}

}  // namespace holdfast
