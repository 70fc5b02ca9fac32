// A job that is in trouble: first sign, drain, verdict, decision. See controller.h for the order.

#include <algorithm>

#include "core/cluster/controller.h"
#include "core/diagnose/verdict.h"
#include "core/jobs/recovery.h"

namespace holdfast {

using effect::Severity;

namespace {

// As a shell would tell the end of the rank that the verdict names: its status, or 128 + signal.
std::int32_t exit_code_of(const AttemptRecord& attempt, const Verdict& verdict) {
  for (const RankExit& exit : attempt.exits) {
    const bool named =
        std::find(verdict.ranks.begin(), verdict.ranks.end(), exit.rank) != verdict.ranks.end();
    if (!named || exit.clean() || exit.asked) continue;
    return exit.signal != 0 ? 128 + exit.signal : exit.code;
  }
  return 1;
}

}  // namespace

// REQUIRES: job.is_live().
void Controller::first_sign(JobRecord& job, const std::string& what) {
  open_incident(job);
  mark(job, Phase::kNoticed);
  tell(job, what);
  set_job(job, JobState::kRecovering);
  begin_drain(job, Duration{});
}

// Nothing of the next attempt starts before every node has said that this one's ranks are dead, or
// is out of the cluster. This, and not a time-out, keeps two attempts apart.
void Controller::begin_drain(JobRecord& job, Duration grace) {
  AttemptRecord& attempt = job.attempt;
  attempt.collecting_stacks = false;
  attempt.not_drained.clear();
  for (const NodeId id : attempt.nodes) {
    const NodeRecord* node = find_node(id);
    if (node->job != job.id) continue;  // lost
    attempt.not_drained.insert(id);
    send(id, server_message::StopRanks{job.id, attempt.number, grace});
  }
  arm(TimerKind::kDrain, job, kDrainTimeout + grace);
  if (attempt.not_drained.empty()) drained_or_gone(job, {});
}

void Controller::on(const event::AttemptDrained& drained) {
  JobRecord* job = live_attempt(drained.job, drained.attempt);
  if (job != nullptr) drained_or_gone(*job, drained.node);
}

void Controller::drained_or_gone(JobRecord& job, NodeId node) {
  AttemptRecord& attempt = job.attempt;
  attempt.not_drained.erase(node);
  if (!attempt.not_drained.empty() || attempt.collecting_stacks) return;
  if (job.state == JobState::kRecovering)
    conclude(job);
  else if (job.state == JobState::kStopping)
    end_job(job, JobState::kStopped, job.reason, 130);
}

// A hang is the one case in which the living ranks are the evidence: their stacks come first.
void Controller::on(const event::RanksStalled& stalled) {
  JobRecord* job = live_attempt(stalled.job, stalled.attempt);
  if (job == nullptr || !job->is_live())
    return;  // reported once: also when a node's start is unheard
  AttemptRecord& attempt = job->attempt;
  attempt.stalled.insert(stalled.ranks.begin(), stalled.ranks.end());
  attempt.collecting_stacks = true;
  open_incident(*job);
  mark(*job, Phase::kNoticed);
  tell(*job, std::to_string(stalled.ranks.size()) + " rank(s) made no step for " +
                 std::to_string(stalled.for_at_least.ms() / 1000) + " s; collecting stacks");
  set_job(*job, JobState::kRecovering);
  for (const NodeId id : attempt.nodes)
    send(id, server_message::CollectStacks{job->id, attempt.number});
  arm(TimerKind::kStacks, *job, kStacksTimeout);
}

void Controller::on(const event::StacksCollected& collected) {
  JobRecord* job = live_attempt(collected.stacks.job, collected.stacks.attempt);
  if (job == nullptr || !job->attempt.collecting_stacks) return;
  AttemptRecord& attempt = job->attempt;
  if (hear(heard_.at(job->id).stacks, collected.stacks.rank))
    attempt.stacks.push_back(collected.stacks);
  const std::size_t alive = attempt.nodes.size() * attempt.ranks_per_node - attempt.exits.size();
  if (attempt.stacks.size() >= alive) begin_drain(*job, Duration{});
}

void Controller::on(const event::TimerFired& fired) {
  const TimerId& timer = fired.timer;
  if (timer.kind == TimerKind::kRepair) return on_repair_late(timer);
  if (timer.kind == TimerKind::kLifecycle) return on_lifecycle_late(timer);
  if (timer.kind == TimerKind::kCheck) {
    if (const auto run = state_.checks.find(timer.check); run != state_.checks.end())
      advance(run->second);
    return;
  }
  if (timer.kind == TimerKind::kUpdate) return advance_update();
  if (timer.kind == TimerKind::kCapacity || timer.kind == TimerKind::kNoCapacity)
    return on_capacity_timer(timer);
  JobRecord* job = live_attempt(timer.job, timer.attempt);
  if (job == nullptr) return;
  AttemptRecord& attempt = job->attempt;
  switch (timer.kind) {
    case TimerKind::kStacks:
      if (attempt.collecting_stacks) begin_drain(*job, Duration{});
      return;
    case TimerKind::kDrain: {
      if (attempt.not_drained.empty()) return;
      const std::set<NodeId> stuck = attempt.not_drained;
      on(event::NodesLost{{stuck.begin(), stuck.end()}, "its ranks could not be ended in time"});
      for (const NodeId id : stuck)  // the breaker may have kept them: keep asking
        if (attempt.number == timer.attempt && attempt.not_drained.contains(id))
          resend_wanted(*find_node(id));
      if (attempt.number == timer.attempt && !attempt.not_drained.empty())
        arm(TimerKind::kDrain, *job, kDrainTimeout);
      return;
    }
    case TimerKind::kStart: {
      if (job->state != JobState::kStarting) return;
      const std::set<NodeId> slow = attempt.not_started;
      on(event::NodesLost{
          {slow.begin(), slow.end()},
          "did not start its ranks within " + std::to_string(kStartTimeout.ms() / 1000) + " s"});
      return;
    }
    case TimerKind::kBackoff:
      if (job->state == JobState::kQueued) start_queued_jobs();
      return;
    case TimerKind::kQuiet:
      if (job->state == JobState::kRunning && job->incident && !makes_steps(*job))
        close_incident(*job, IncidentState::kRecovered);
      return;
    case TimerKind::kRepair:  // these belong to no job
    case TimerKind::kCheck:
    case TimerKind::kUpdate:
    case TimerKind::kCapacity:
    case TimerKind::kLifecycle:
    case TimerKind::kNoCapacity:
      return;
  }
}

// What is done to the nodes that the verdict names: one that is lost is replaced.
Action Controller::strongest_cure(const Verdict& verdict) const {
  Action action = Action::kNone;
  for (const NodeId id : verdict.nodes) {
    const NodeRecord* named = node(id);
    const bool is_out = named != nullptr && named->state == NodeState::kCordoned;
    action = std::max(action, is_out ? named->health.due : Action::kReplaceNode);
  }
  return action == Action::kNone ? Action::kReplaceNode : action;
}

// Counts this attempt into the job's history and says what to do about it.
Verdict Controller::judge(JobRecord& job) {
  const AttemptRecord& attempt = job.attempt;
  Verdict verdict = diagnose(attempt, now_);
  if (verdict.action == Action::kReplaceNode) verdict.action = strongest_cure(verdict);
  if (attempt.step > job.step_reached) {
    job.attempts_without_progress = 0;
    job.out_of_memory_without_progress = 0;
  }
  job.step_reached = std::max(job.step_reached, attempt.step);
  if (counts_against_job(verdict)) ++job.attempts_without_progress;
  if (verdict.cause == CauseClass::kOutOfMemory) ++job.out_of_memory_without_progress;
  return verdict;
}

// How often one of the nodes that the verdict names without proof has been named within a week. A
// machine that is broken shows it on whatever rank it has; trouble that stayed with the rank when
// that moved to another node is the program's, and counts for no node.
std::uint32_t Controller::suspect(JobRecord& job, const Verdict& verdict) {
  constexpr Duration kRemembered = minutes(7 * 24 * 60);
  constexpr std::size_t kKept = 64;
  const bool by_itself =
      verdict.cause == CauseClass::kApplication && verdict.confidence != Confidence::kHigh;
  if (job.attempt.stalled.empty() && !by_itself) return 0;
  if (verdict.ranks.empty() || verdict.nodes.size() > 1) return 0;
  const Suspicion now{verdict.nodes.front(), verdict.ranks.front(), now_};
  std::uint32_t named = 1;
  bool travels = false;
  std::erase_if(job.suspicions, [&](const Suspicion& s) { return now_ - s.at > kRemembered; });
  for (const Suspicion& s : job.suspicions) {
    if (s.node == now.node) ++named;
    if (s.rank == now.rank && s.node != now.node) travels = true;
  }
  if (job.suspicions.size() >= kKept) job.suspicions.erase(job.suspicions.begin());
  job.suspicions.push_back(now);
  return travels ? 0 : named;
}

// A node that was moved away from and is named again wherever it is used is given back.
void Controller::move_away(JobRecord& job, const Verdict& verdict, std::uint32_t named,
                           const std::string& reason) {
  constexpr std::uint32_t kNamedMax = 3;
  for (const NodeId id : verdict.nodes) {
    NodeRecord* node = find_node(id);
    if (named < kNamedMax || node->state != NodeState::kHealthy ||
        index_.groups[node->group].idle_spares.empty()) {
      swap_out(id, reason);
      continue;
    }
    const std::string why = to_string(id) + " was named " + std::to_string(named) +
                            " times within a week, " + reason + "; last: " + verdict.summary;
    cordon_node(*node, why, {why, id, verdict.ranks.front(), now_}, Action::kReplaceNode);
    tell(job, why);
  }
}

void Controller::conclude(JobRecord& job) {
  mark(job, Phase::kDrained);
  if (all_ended_well(job.attempt)) {  // trouble at the very end: the work is done all the same
    succeed(job);
    return;
  }
  out_->push_back(effect::KeepEvidence{job.incident, job.id, job.spec.name,
                                       job.attempts_without_progress, job.attempt});
  Verdict verdict = judge(job);
  const std::uint32_t named = suspect(job, verdict);
  const RecoveryDecision decision =
      decide_recovery(job.spec, verdict,
                      {job.attempts_without_progress, job.out_of_memory_without_progress, named});
  if (!decision.start_again)
    verdict.action = Action::kStopJob;
  else if (decision.other_nodes)
    verdict.action = Action::kRestartOnOtherNodes;

  IncidentRecord& incident = state_.incidents.at(job.incident);
  incident.step_reached = std::max(incident.step_reached, job.step_reached);
  incident.verdicts.push_back(verdict);
  job.last_verdict = verdict;
  mark(job, Phase::kDecided);
  tell(job, "verdict " + std::string(word_of(verdict.cause)) + ", " +
                std::string(word_of(verdict.action)) + ": " + verdict.summary);
  release_nodes(job);
  if (!decision.start_again) {
    end_job(job, JobState::kFailed, decision.reason, exit_code_of(job.attempt, verdict));
    return;
  }
  if (decision.other_nodes) move_away(job, verdict, named, decision.reason);
  fill_places();
  set_job(job, JobState::kQueued);
  if (decision.wait > Duration{}) {
    job.not_before = now_ + decision.wait;
    job.reason =
        "waits " + std::to_string(decision.wait.ms() / 1000) + " s before the next attempt";
    arm(TimerKind::kBackoff, job, decision.wait);
  }
  start_queued_jobs();
}

// The node keeps its health but not its place; a spare takes that. Without a spare nothing changes:
// a doubtful node is better than none.
void Controller::swap_out(NodeId id, const std::string& reason) {
  NodeRecord* node = find_node(id);
  if (node == nullptr || node->state != NodeState::kHealthy || node->place == 0) return;
  const auto& spares = index_.groups[node->group].idle_spares;
  if (spares.empty()) return;
  NodeRecord& spare = best_spare(index_.groups[node->group]);
  const std::uint32_t place = node->place;
  set_place(*node, 0);
  set_place(spare, place);
  node->reason = reason;
  audit(Severity::kInfo, "node.swapped",
        to_string(spare.id) + " takes the place of " + to_string(id) + ": " + reason, id);
}

IncidentRecord& Controller::open_incident(JobRecord& job) {
  if (!job.incident) {
    job.incident = IncidentId{++state_.incidents_made};
    IncidentRecord incident;
    incident.id = job.incident;
    incident.job = job.id;
    incident.first_attempt = incident.last_attempt = job.attempt.number;
    state_.incidents.emplace(job.incident, std::move(incident));
  }
  IncidentRecord& incident = state_.incidents.at(job.incident);
  incident.step_reached = std::max(incident.step_reached, job.attempt.step);
  return incident;
}

void Controller::mark(JobRecord& job, Phase phase) {
  if (!job.incident) return;
  auto& phases = state_.incidents.at(job.incident).phases;
  const auto index = static_cast<std::size_t>(phase);
  if (phase != Phase::kNoticed || !phases[index]) phases[index] = now_;
  // What an earlier round reached is not reached in this one yet.
  for (std::size_t later = index + 1; later < kPhases; ++later) phases[later].reset();
}

void Controller::tell(JobRecord& job, const std::string& line) {
  if (!job.incident) return;
  state_.incidents.at(job.incident).story.push_back({now_, line});
  audit(Severity::kWarning, "incident", job.spec.name + ": " + line, {}, job.id, job.incident);
}

void Controller::close_incident(JobRecord& job, IncidentState how) {
  IncidentRecord& incident = state_.incidents.at(job.incident);
  incident.state = how;
  incident.last_attempt = job.attempt.number;
  const std::string text =
      how == IncidentState::kRecovered
          ? "goes on after " + std::to_string((now_ - *incident.phase(Phase::kNoticed)).ms()) +
                " ms"
          : "could not be recovered: " + job.reason;
  incident.story.push_back({now_, text});
  audit(how == IncidentState::kRecovered ? Severity::kInfo : Severity::kWarning,
        "incident." + std::string(word_of(how)), job.spec.name + ": " + text, {}, job.id,
        incident.id);
  job.incident = {};
}

}  // namespace holdfast
