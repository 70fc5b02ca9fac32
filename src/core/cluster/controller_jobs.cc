// A job that runs: submitted, placed, started, making progress, ended.

#include <algorithm>

#include "core/checkpoint/replicas.h"
#include "core/cluster/controller.h"
#include "core/schedule/place.h"

namespace holdfast {

using effect::Severity;

namespace {

std::string list_of(const std::vector<NodeId>& nodes) {
  constexpr std::size_t kNamed = 16;
  std::string text;
  for (std::size_t i = 0; i < nodes.size() && i < kNamed; ++i)
    text += (i == 0 ? "" : ", ") + to_string(nodes[i]);
  if (nodes.size() > kNamed) text += " and " + std::to_string(nodes.size() - kNamed) + " more";
  return text;
}

}  // namespace

void Controller::on(const event::JobSubmitted& submitted) {
  if (find_job_by_token(submitted.spec.request_token) != nullptr || !check(submitted).ok()) return;
  const JobId id{++state_.jobs_made};
  JobRecord& job = state_.jobs[id];
  job.id = id;
  job.spec = submitted.spec;
  job.submitted = now_;
  open_jobs_.insert(id);
  queued_jobs_.insert(id);
  heard_[id];
  audit(Severity::kInfo, "job.submitted", job.spec.name + " (" + to_string(id) + ") submitted", {},
        id);
  start_queued_jobs();
  for (const NodeId node : index_.live) warm_up(*find_node(node));
}

void Controller::set_job(JobRecord& job, JobState to) {
  job.state = to;
  if (to == JobState::kQueued)
    queued_jobs_.insert(job.id);
  else
    queued_jobs_.erase(job.id);
  if (!job.has_ended()) return;
  open_jobs_.erase(job.id);
  heard_.erase(job.id);
}

// Those in trouble first, then in the order in which they came.
void Controller::start_queued_jobs() {
  if (queued_jobs_.empty()) return;
  const std::vector<JobId> queued(queued_jobs_.begin(), queued_jobs_.end());
  for (const bool in_trouble : {true, false})
    for (const JobId id : queued) {
      JobRecord& job = state_.jobs.at(id);
      if (job.state == JobState::kQueued && static_cast<bool>(job.incident) == in_trouble)
        try_start(job);
    }
}

void Controller::try_start(JobRecord& job) {
  if (job.not_before && now_ < *job.not_before) return;
  Allocation allocation = allocate(job, state_, index_);
  if (allocation.nodes.empty()) {
    if (job.reason == allocation.reason) return;
    job.reason = allocation.reason;
    audit(Severity::kInfo, "job.waits", job.spec.name + " " + job.reason, {}, job.id, job.incident);
    if (job.incident) tell(job, job.reason);
    return;
  }
  job.not_before.reset();
  job.reason.clear();
  set_job(job, JobState::kStarting);
  const Attempt number{job.attempt.number.value + 1};
  if (job.attempt.made_step)
    job.snapshots = {std::move(job.attempt.nodes), std::move(job.attempt.replicas)};
  job.attempt = {};
  job.attempt.number = number;
  job.checkpoint_failures = 0;
  job.attempt.started = now_;
  job.attempt.nodes = std::move(allocation.nodes);
  job.attempt.ranks_per_node = job.spec.ranks_per_node;
  const NodeRecord& first = *find_node(job.attempt.nodes.front());
  job.attempt.master_address = first.address;
  job.attempt.master_port = first.rendezvous_port;
  choose_replicas(job.attempt);
  heard_[job.id] = heard_of(job);
  for (const NodeId id : job.attempt.nodes) {
    set_holder(*find_node(id), job.id);
    job.attempt.not_started.insert(id);
  }
  if (job.incident) state_.incidents.at(job.incident).last_attempt = number;
  audit(Severity::kInfo, "job.starting",
        job.spec.name + ": attempt " + std::to_string(number.value) + " on " +
            list_of(job.attempt.nodes),
        {}, job.id, job.incident);
  for (std::size_t i = 0; i < job.attempt.nodes.size(); ++i) send_start(job, i);
  arm(TimerKind::kStart, job, kStartTimeout);
}

void Controller::choose_replicas(AttemptRecord& attempt) {
  std::vector<std::string> domains;
  for (const NodeId id : attempt.nodes) {
    const NodeRecord& node = *find_node(id);
    domains.push_back(node.location.failure_domain(node.address));
  }
  attempt.replicas.clear();
  for (const std::uint32_t keeper : place_replicas(domains))
    attempt.replicas.push_back(attempt.nodes[keeper]);
}

// Who may still have them. With another number of nodes the ranks are others: from disk, then.
std::vector<std::string> Controller::snapshot_sources(const JobRecord& job,
                                                      std::size_t group_rank) const {
  const SnapshotHolders& had = job.snapshots;
  std::vector<std::string> sources;
  if (had.nodes.size() != job.attempt.nodes.size()) return sources;
  for (const NodeId id : {had.nodes[group_rank], had.replicas[group_rank]}) {
    const NodeRecord* holder = node(id);
    if (holder->is_live() && id != job.attempt.nodes[group_rank] &&
        !holder->snapshot_address.empty())
      sources.push_back(holder->snapshot_address);
  }
  return sources;
}

void Controller::send_start(const JobRecord& job, std::size_t group_rank) {
  const AttemptRecord& attempt = job.attempt;
  const NodeId keeper = attempt.replicas[group_rank];
  send(attempt.nodes[group_rank],
       server_message::StartRanks{.job = job.id,
                                  .attempt = attempt.number,
                                  .spec = job.spec,
                                  .group_rank = static_cast<std::uint32_t>(group_rank),
                                  .nodes = static_cast<std::uint32_t>(attempt.nodes.size()),
                                  .master_address = attempt.master_address,
                                  .master_port = attempt.master_port,
                                  .replica_to = keeper == attempt.nodes[group_rank]
                                                    ? std::string()
                                                    : find_node(keeper)->snapshot_address,
                                  .restore_from = snapshot_sources(job, group_rank)});
}

void Controller::on(const event::RanksStarted& started) {
  JobRecord* job = live_attempt(started.started.job, started.started.attempt);
  if (job == nullptr || job->state != JobState::kStarting) return;
  job->attempt.not_started.erase(started.node);
  if (!job->attempt.not_started.empty()) return;
  set_job(*job, JobState::kRunning);
  audit(Severity::kInfo, "job.running",
        job->spec.name + ": all ranks of attempt " + std::to_string(job->attempt.number.value) +
            " are started",
        {}, job->id, job->incident);
  if (!job->incident) return;
  mark(*job, Phase::kStarted);
  // A program that makes no steps we can see has recovered when it keeps running.
  if (!makes_steps(*job)) arm(TimerKind::kQuiet, *job, kQuietTime);
}

void Controller::on(const event::Progressed& progressed) {
  JobRecord* job = live_attempt(progressed.job, progressed.attempt);
  if (job == nullptr || !job->is_live()) return;
  note_progress(*job, progressed.progress, progressed.node);
}

void Controller::note_progress(JobRecord& job, const RankProgress& progress, NodeId node) {
  AttemptRecord& attempt = job.attempt;
  attempt.step = std::max(attempt.step, progress.step);
  if (progress.restored_step && !attempt.restored_step) {
    attempt.restored_step = progress.restored_step;
    mark(job, Phase::kRestored);
  }
  if (progress.checkpoint_failures > job.checkpoint_failures) {
    job.checkpoint_failures = progress.checkpoint_failures;
    // Once until a commit succeeds: a disk that stays full is no flood of alerts.
    if (!job.checkpoints_fail)
      audit(Severity::kAlert, "checkpoint.failed",
            job.spec.name + ": a checkpoint could not be saved; training goes on" +
                (job.committed_step
                     ? ", the commit of step " + std::to_string(*job.committed_step) + " is intact"
                     : "") +
                ". " + progress.checkpoint_error,
            node, job.id);
    job.checkpoints_fail = true;
  }
  if (progress.steps_this_attempt > 0 && !attempt.made_step) {
    attempt.made_step = true;
    if (job.incident) {
      IncidentRecord& incident = state_.incidents.at(job.incident);
      const std::uint64_t from = attempt.restored_step.value_or(
          progress.step >= progress.steps_this_attempt ? progress.step - progress.steps_this_attempt
                                                       : 0);
      incident.restored_step = from;
      incident.steps_lost = incident.step_reached > from ? incident.step_reached - from : 0;
      mark(job, Phase::kFirstStep);
      close_incident(job, IncidentState::kRecovered);
    }
  }
  if (progress.committed_step &&
      (!job.committed_step || *progress.committed_step > *job.committed_step)) {
    job.committed_step = progress.committed_step;
    if (job.checkpoints_fail)
      audit(Severity::kInfo, "checkpoint.resumed",
            job.spec.name + ": checkpoints are saved again, that of step " +
                std::to_string(*job.committed_step) + " is committed",
            node, job.id);
    job.checkpoints_fail = false;
    grow_after_commit(job);
  }
}

// A job that went on smaller gets its nodes back when they are there, at a moment when a restart
// costs no work.
void Controller::grow_after_commit(JobRecord& job) {
  if (job.state != JobState::kRunning || job.incident) return;
  const auto now_on = static_cast<std::uint32_t>(job.attempt.nodes.size());
  if (now_on >= job.spec.nodes_max || index_.free.empty()) return;
  const auto could =
      now_on + static_cast<std::uint32_t>(
                   free_for(job.spec, state_, index_, job.spec.nodes_max - now_on).size());
  if (could == now_on) return;
  // More are on their way: one restart for all of them, unless it is worth one already.
  if (could < job.spec.nodes_max && index_.provisioning > 0 && (could - now_on) * 8 < now_on)
    return;
  job.attempt.planned = "goes from " + std::to_string(now_on) + " to " + std::to_string(could) +
                        " nodes after a commit";
  first_sign(job, job.attempt.planned);
}

void Controller::on(const event::RankExited& exited) {
  JobRecord* job = live_attempt(exited.job, exited.attempt);
  if (job == nullptr || job->state == JobState::kQueued) return;
  AttemptRecord& attempt = job->attempt;
  if (!hear(heard_.at(job->id).exited, exited.exit.rank)) return;
  attempt.exits.push_back(exited.exit);
  if (job->is_live())
    note_progress(*job, exited.exit.progress, exited.node);
  else
    attempt.step = std::max(attempt.step, exited.exit.progress.step);
  if (!job->is_live()) return;  // also when that progress itself made us stop the attempt
  if (!exited.exit.clean()) {
    first_sign(*job, "rank " + std::to_string(exited.exit.rank) + " on " + to_string(exited.node) +
                         " ended");
    return;
  }
  if (all_ended_well(attempt)) succeed(*job);
}

bool Controller::all_ended_well(const AttemptRecord& attempt) {
  return attempt.exits.size() == attempt.nodes.size() * attempt.ranks_per_node &&
         std::all_of(attempt.exits.begin(), attempt.exits.end(),
                     [](const RankExit& e) { return e.clean(); });
}

void Controller::succeed(JobRecord& job) {
  job.step_reached = std::max(job.step_reached, job.attempt.step);
  if (job.incident) close_incident(job, IncidentState::kRecovered);
  end_job(job, JobState::kSucceeded, "all ranks ended with status 0", 0);
}

void Controller::end_job(JobRecord& job, JobState state, const std::string& reason,
                         std::int32_t exit_code) {
  set_job(job, state);
  job.reason = reason;
  job.exit_code = exit_code;
  job.ended = now_;
  job.attempt.not_drained.clear();
  job.attempt.not_started.clear();
  if (job.incident) close_incident(job, IncidentState::kFailed);
  release_nodes(job);
  for (const NodeId id : index_.live) send(id, server_message::ForgetJob{job.id});
  for (const auto& [id, run] : state_.checks)
    for (const CheckMember& member : run.members)
      if (run.state != CheckRunState::kEnded) send(member.node, server_message::ForgetJob{job.id});
  audit(state == JobState::kFailed ? Severity::kAlert : Severity::kInfo,
        "job." + std::string(word_of(state)), job.spec.name + ": " + reason, {}, job.id);
  start_queued_jobs();
}

void Controller::release_nodes(JobRecord& job) {
  for (const NodeId id : job.attempt.nodes) {
    NodeRecord& node = *find_node(id);
    if (node.job != job.id) continue;
    set_holder(node, {});
    if (node.state == NodeState::kCordoned) retire_node(node);
    if (node.state == NodeState::kDeepHealthCheck) checked_node_is_free(node);
  }
}

void Controller::on(const event::JobStopAsked& asked) {
  const auto found = state_.jobs.find(asked.job);
  if (found == state_.jobs.end() || found->second.has_ended() ||
      found->second.state == JobState::kStopping)
    return;
  JobRecord& job = found->second;
  const std::string reason = "stopped by " + asked.by;
  if (job.state == JobState::kQueued) {
    end_job(job, JobState::kStopped, reason, 130);
    return;
  }
  const bool was_live = job.is_live();
  set_job(job, JobState::kStopping);
  job.reason = reason;
  job.attempt.collecting_stacks = false;
  audit(Severity::kInfo, "job.stopping", job.spec.name + ": " + reason, {}, job.id);
  if (was_live || job.attempt.not_drained.empty())
    begin_drain(job, was_live ? kStopGrace : Duration{});
}

}  // namespace holdfast
