// A job that runs: submitted, placed, started, making progress, ended.

#include <algorithm>

#include "core/cluster/controller.h"
#include "core/schedule/place.h"

namespace holdfast {

using effect::Severity;

void Controller::on(const event::JobSubmitted& submitted) {
  if (find_job_by_token(submitted.spec.request_token) != nullptr || !check(submitted).ok()) return;
  const JobId id{++state_.jobs_made};
  JobRecord& job = state_.jobs[id];
  job.id = id;
  job.spec = submitted.spec;
  job.submitted = now_;
  audit(Severity::kInfo, "job.submitted", job.spec.name + " (" + to_string(id) + ") submitted", {},
        id);
  start_queued_jobs();
  for (const auto& [node_id, node] : state_.nodes) warm_up(node);
}

// Those in trouble first, then in the order in which they came.
void Controller::start_queued_jobs() {
  for (const bool in_trouble : {true, false})
    for (auto& [id, job] : state_.jobs)
      if (job.state == JobState::kQueued && static_cast<bool>(job.incident) == in_trouble)
        try_start(job);
}

void Controller::try_start(JobRecord& job) {
  if (job.not_before && now_ < *job.not_before) return;
  Allocation allocation = allocate(state_, job);
  if (allocation.nodes.empty()) {
    if (job.reason == allocation.reason) return;
    job.reason = allocation.reason;
    audit(Severity::kInfo, "job.waits", job.spec.name + " " + job.reason, {}, job.id, job.incident);
    if (job.incident) tell(job, job.reason);
    return;
  }
  job.not_before.reset();
  job.reason.clear();
  job.state = JobState::kStarting;
  const Attempt number{job.attempt.number.value + 1};
  job.attempt = {};
  job.attempt.number = number;
  job.checkpoint_failures = 0;
  job.attempt.started = now_;
  job.attempt.nodes = std::move(allocation.nodes);
  job.attempt.ranks_per_node = job.spec.ranks_per_node;
  std::string where;
  for (const NodeId id : job.attempt.nodes) {
    find_node(id)->job = job.id;
    job.attempt.not_started.insert(id);
    where += (where.empty() ? "" : ", ") + to_string(id);
  }
  if (job.incident) state_.incidents.at(job.incident).last_attempt = number;
  audit(Severity::kInfo, "job.starting",
        job.spec.name + ": attempt " + std::to_string(number.value) + " on " + where, {}, job.id,
        job.incident);
  for (const NodeId id : job.attempt.nodes) send_start(job, id);
  arm(TimerKind::kStart, job, kStartTimeout);
}

void Controller::send_start(const JobRecord& job, NodeId node) {
  const AttemptRecord& attempt = job.attempt;
  const auto position = std::find(attempt.nodes.begin(), attempt.nodes.end(), node);
  const NodeRecord& first = *find_node(attempt.nodes.front());
  send(node, server_message::StartRanks{
                 .job = job.id,
                 .attempt = attempt.number,
                 .spec = job.spec,
                 .group_rank = static_cast<std::uint32_t>(position - attempt.nodes.begin()),
                 .nodes = static_cast<std::uint32_t>(attempt.nodes.size()),
                 .master_address = first.address,
                 .master_port = first.rendezvous_port});
}

void Controller::on(const event::RanksStarted& started) {
  JobRecord* job = live_attempt(started.started.job, started.started.attempt);
  if (job == nullptr || job->state != JobState::kStarting) return;
  job->attempt.not_started.erase(started.node);
  if (!job->attempt.not_started.empty()) return;
  job->state = JobState::kRunning;
  audit(Severity::kInfo, "job.running",
        job->spec.name + ": all ranks of attempt " + std::to_string(job->attempt.number.value) +
            " are started",
        {}, job->id, job->incident);
  if (!job->incident) return;
  mark(*job, Phase::kStarted);
  // A program that makes no steps we can see has recovered when it keeps running.
  if (job->step_reached == 0) arm(TimerKind::kQuiet, *job, kQuietTime);
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
  std::uint32_t free = 0;
  for (const auto& [id, node] : state_.nodes)
    if (node.state == NodeState::kHealthy && node.place != 0 && !node.job) ++free;
  const std::uint32_t could = std::min(job.spec.nodes_max, now_on + free);
  if (could <= now_on) return;
  job.attempt.planned = "goes from " + std::to_string(now_on) + " to " + std::to_string(could) +
                        " nodes after a commit";
  first_sign(job, job.attempt.planned);
}

void Controller::on(const event::RankExited& exited) {
  JobRecord* job = live_attempt(exited.job, exited.attempt);
  if (job == nullptr || job->state == JobState::kQueued) return;
  AttemptRecord& attempt = job->attempt;
  const bool known = std::any_of(attempt.exits.begin(), attempt.exits.end(),
                                 [&](const RankExit& e) { return e.rank == exited.exit.rank; });
  if (known) return;
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
  job.state = state;
  job.reason = reason;
  job.exit_code = exit_code;
  job.ended = now_;
  job.attempt.not_drained.clear();
  job.attempt.not_started.clear();
  if (job.incident) close_incident(job, IncidentState::kFailed);
  release_nodes(job);
  for (const auto& [id, node] : state_.nodes)
    if (node.is_live()) send(id, server_message::ForgetJob{job.id});
  audit(state == JobState::kFailed ? Severity::kAlert : Severity::kInfo,
        "job." + std::string(word_of(state)), job.spec.name + ": " + reason, {}, job.id);
  start_queued_jobs();
}

void Controller::release_nodes(JobRecord& job) {
  for (auto& [id, node] : state_.nodes) {
    if (node.job != job.id) continue;
    node.job = {};
    if (node.state == NodeState::kCordoned) retire_node(node);
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
  job.state = JobState::kStopping;
  job.reason = reason;
  job.attempt.collecting_stacks = false;
  audit(Severity::kInfo, "job.stopping", job.spec.name + ": " + reason, {}, job.id);
  if (was_live || job.attempt.not_drained.empty())
    begin_drain(job, was_live ? kStopGrace : Duration{});
}

}  // namespace holdfast
