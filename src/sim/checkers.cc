#include "sim/checkers.h"

#include <algorithm>

#include "core/health/drift.h"

namespace holdfast::sim {
namespace {

constexpr std::uint32_t kFruitlessMax = 8;
constexpr Duration kSlack = seconds(10);

std::string name_of(JobId job, Attempt attempt) {
  return to_string(job) + " " + to_string(attempt);
}

}  // namespace

bool Checkers::is_member(NodeId node) const {
  return !out_.contains(node);
}

// --- what the world does

// Two attempts of one job never live together on members, and a node has ranks of one job only.
void Checkers::born(NodeId node, JobId job, Attempt attempt, std::uint32_t rank) {
  ++alive_[job][attempt][node];
  ++on_node_[node][{job, attempt}];
  for (const auto& [other, count] : on_node_[node])
    if (other.first != job)
      report_("double_allocation", to_string(node) + " has ranks of " + to_string(job) +
                                       " and of " + to_string(other.first));
  if (alive_[job].size() == 1 || !is_member(node)) return;
  for (const auto& [other, nodes] : alive_[job]) {
    if (other == attempt) continue;
    for (const auto& [where, count] : nodes)
      if (where == node || is_member(where))
        return report_("two_attempts", "rank " + std::to_string(rank) + " of " +
                                           name_of(job, attempt) + " starts on " + to_string(node) +
                                           " while " + to_string(other) + " lives on " +
                                           to_string(where));
  }
}

void Checkers::told_to_meet(NodeId node, JobId job, Attempt attempt, const std::string& first,
                            const std::string& now) {
  if (first != now)
    report_("rendezvous", name_of(job, attempt) + " on " + to_string(node) +
                              " is told to meet at " + now + ", others at " + first);
}

void Checkers::died(NodeId node, JobId job, Attempt attempt, std::uint32_t) {
  auto& nodes = alive_[job][attempt];
  if (--nodes[node] == 0) nodes.erase(node);
  if (nodes.empty()) alive_[job].erase(attempt);
  auto& here = on_node_[node];
  if (--here[{job, attempt}] == 0) here.erase({job, attempt});
}

void Checkers::node_ended(NodeId node) {
  for (const auto& [run, count] : on_node_[node]) {
    auto& attempts = alive_[run.first];
    attempts[run.second].erase(node);
    if (attempts[run.second].empty()) attempts.erase(run.second);
  }
  on_node_.erase(node);
}

void Checkers::restored(JobId job, Attempt attempt, std::uint64_t step, std::uint64_t committed) {
  if (step != committed || step != jobs_[job].committed)
    report_("restore", name_of(job, attempt) + " restored step " + std::to_string(step) +
                           ", but step " + std::to_string(jobs_[job].committed) +
                           " is the last that was committed");
}

void Checkers::committed(JobId job, Attempt attempt, std::uint64_t step) {
  JobWatch& watch = jobs_[job];
  if (step < watch.committed)
    report_("two_attempts", name_of(job, attempt) + " commits step " + std::to_string(step) +
                                " over step " + std::to_string(watch.committed));
  watch.committed = std::max(watch.committed, step);
}

Duration Checkers::decision_bound() const {
  Duration stall;
  for (const JobShape& shape : scenario_.jobs)
    stall = std::max(
        {stall, shape.hang.stall_min, shape.step_time * std::int64_t{shape.hang.stall_factor} * 3});
  return scenario_.policy.silence_max + stall + kStacksTimeout + kDrainTimeout * 2 + kSlack +
         scenario_.network.delay.most * std::int64_t{std::max(1u, scenario_.network.slow_factor)};
}

void Checkers::stopped(JobId job, Attempt attempt, bool has_begun, const std::string& fault,
                       Instant now, Instant shown_by) {
  JobWatch& watch = jobs_[job];
  watch.faulted = true;
  watch.fault = fault;
  watch.hit = attempt;
  watch.decide_by = std::max(now, shown_by) + decision_bound();
  // Before its first step a hang cannot be told from a long start; of a job that has made steps
  // before, after a while it can.
  if (watch.step == 0) watch.fault.clear();
  if (!has_begun) watch.decide_by = watch.decide_by + kFirstStepMost;
}

// --- what the control plane does

void Checkers::stepped(const Controller& controller, const Event& event, Instant now) {
  // A person has looked: the breaker counts anew.
  if (std::holds_alternative<event::BreakerCloseAsked>(event)) taken_out_.clear();
  operator_acts_ = std::holds_alternative<event::NodeReplaceAsked>(event) ||
                   std::holds_alternative<event::BreakerCloseAsked>(event) ||
                   std::holds_alternative<event::DownAsked>(event);
  if (const auto* asked = std::get_if<event::NodeReplaceAsked>(&event)) hurt_.insert(asked->node);
  for (const JobId id : controller.open_jobs())
    check_job(controller.state().jobs.at(id), controller);
  for (auto& [id, watch] : jobs_) {
    if (watch.has_ended) continue;
    const auto job = controller.state().jobs.find(id);
    if (job != controller.state().jobs.end() && job->second.has_ended())
      check_job(job->second, controller);
  }
  (void)now;
}

void Checkers::check_job(const JobRecord& job, const Controller& controller) {
  JobWatch& watch = jobs_[job.id];
  if (watch.has_ended && watch.state != job.state)
    report_("stays_ended",
            to_string(job.id) + " had ended and is " + std::string(word_of(job.state)));
  if (job.attempt.number < watch.attempt)
    report_("attempts_grow", to_string(job.id) + " went back to an older attempt");
  if (job.committed_step && *job.committed_step > watch.committed)
    report_("two_attempts", to_string(job.id) + " is said to have committed step " +
                                std::to_string(*job.committed_step) + "; the store has " +
                                std::to_string(watch.committed));
  const std::uint64_t step = std::max(job.step_reached, job.attempt.step);
  if (step > watch.step) {
    watch.step = step;
    watch.fruitless = 0;
  }
  if (job.attempt.number > watch.attempt) {
    watch.attempt = job.attempt.number;
    watch.fruitless = watch.faulted ? 0 : watch.fruitless + 1;
    watch.faulted = false;
    if (watch.fruitless > kFruitlessMax)
      report_("no_loop", to_string(job.id) + " was started " + std::to_string(watch.fruitless) +
                             " times without progress and without a fault");
    check_start(job, controller);
  }
  watch.state = job.state;
  watch.has_ended = job.has_ended();
}

std::set<NodeId> Checkers::drifted(const ClusterState& state) {
  const auto& update = state.software_update;
  if (update && !update->ended) return {};
  std::vector<Fingerprint> nodes;
  for (const auto& [id, node] : state.nodes)
    if (node.state != NodeState::kGone && !node.software.empty())
      nodes.push_back({id, std::to_string(node.group), node.software});
  std::set<NodeId> found;
  for (const Drift& one : find_drift(nodes))
    if (!one.difference.is_split) found.insert(one.node);
  return found;
}

// allocated <= healthy, and each node is allocated once, to a job that may have it.
void Checkers::check_start(const JobRecord& job, const Controller& controller) {
  std::set<NodeId> own;
  const ClusterState& state = controller.state();
  const std::set<NodeId> odd = job.spec.allow_drifted ? std::set<NodeId>() : drifted(state);
  for (const NodeId id : job.attempt.nodes) {
    const NodeRecord& node = state.nodes.at(id);
    const InstanceGroup* group = state.spec.find_group(node.group);
    if (odd.contains(id) || (!job.spec.instance_group.empty() &&
                             (group == nullptr || group->name != job.spec.instance_group)))
      report_("allowed", to_string(job.id) + " may not have " + to_string(id));
    if (!own.insert(id).second || node.job != job.id)
      report_("double_allocation", to_string(id) + " is allocated to " + to_string(job.id) +
                                       " and to " +
                                       (node.job ? to_string(node.job) : std::string("nobody")));
    if (node.state != NodeState::kHealthy)
      report_("allocated_healthy", to_string(job.id) + " starts on " + to_string(id) +
                                       ", which is " + std::string(word_of(node.state)));
  }
  for (const JobId other : controller.open_jobs()) {
    const JobRecord& record = controller.state().jobs.at(other);
    if (other == job.id || !record.is_live()) continue;
    for (const NodeId id : record.attempt.nodes)
      if (own.contains(id))
        report_("double_allocation", to_string(id) + " is allocated to " + to_string(job.id) +
                                         " and to " + to_string(other));
  }
}

void Checkers::audited(const Controller& controller, const effect::Audit& audit, Instant now) {
  if (audit.kind == "node.joined") joined_.insert(audit.node);
  if (audit.kind == "node.lost" || audit.kind == "node.gone") out_.insert(audit.node);
  if (joined_.contains(audit.node) && (audit.kind == "node.cordoned" || audit.kind == "node.lost"))
    check_left_out(audit, now, controller);
  if (audit.kind == "node.cordoned") cordoned_.emplace(audit.node, now);
  if (audit.kind == "node.lost" || audit.kind == "node.gone" || audit.kind == "node.repaired")
    cordoned_.erase(audit.node);
  if (audit.kind == "node.repaired") asked_out_.erase(audit.node);
  if (audit.kind == "incident" && audit.text.find("verdict ") != std::string::npos) {
    JobWatch& watch = jobs_[audit.job];
    watch.fault.clear();
    const auto& verdict = controller.state().jobs.at(audit.job).last_verdict;
    if (verdict && verdict->summary.empty())
      report_("reason", to_string(audit.job) + ": a verdict without a reason");
  }
}

// No healthy node is given up, and past the breaker's share none at all without a person.
void Checkers::check_left_out(const effect::Audit& audit, Instant now,
                              const Controller& controller) {
  const NodeId node = audit.node;
  if (audit.text.find("by operator") != std::string::npos) asked_out_.insert(node);
  if (asked_out_.contains(node)) return;  // as a person wanted it
  if (!hurt_.contains(node))
    report_("evidence", to_string(node) + " is well and was given up: " + audit.text);
  const ClusterSpec& spec = controller.state().spec;
  // One that was lost before it had passed its scripts and its checks was no member yet.
  const NodeRecord& record = *controller.node(node);
  const bool was_checked =
      audit.kind == "node.lost" && (record.check_status == CheckStatus::kFailed ||
                                    record.lifecycle.status == LifecycleStatus::kInProgress);
  if (operator_acts_ || was_checked) return;
  taken_out_.emplace_back(now, node);
  while (now - taken_out_.front().first > spec.breaker_window) taken_out_.pop_front();
  const std::size_t members = std::size_t{spec.nodes()} + spec.spares();
  if (taken_out_.size() > 2 && taken_out_.size() * 100 > members * spec.breaker_percent + 100)
    report_("breaker", std::to_string(taken_out_.size()) + " of " + std::to_string(members) +
                           " nodes were taken out within the breaker's window");
}

// What was decided and not yet durable is forgotten.
void Checkers::restarted(const Controller& controller, Instant now) {
  for (auto& [id, watch] : jobs_) {
    watch.decide_by = std::max(watch.decide_by, now + decision_bound());
    const auto job = controller.state().jobs.find(id);
    if (job == controller.state().jobs.end()) continue;
    watch.attempt = job->second.attempt.number;
    watch.state = job->second.state;
    watch.has_ended = job->second.has_ended();
  }
  for (auto it = out_.begin(); it != out_.end();) {
    const auto node = controller.state().nodes.find(*it);
    const bool is_out =
        node == controller.state().nodes.end() || node->second.state == NodeState::kGone;
    it = is_out ? std::next(it) : out_.erase(it);
  }
  for (auto& [node, since] : cordoned_) since = std::max(since, now);
}

// After a rollback no node that the update was at, or that came meanwhile, works with its files.
void Checkers::check_update(const Controller& controller) {
  const auto& update = controller.state().software_update;
  if (!update || !update->ended || update->ended == update_seen_) return;
  update_seen_ = update->ended;
  if (update->state != SoftwareUpdateState::kRolledBack) return;
  for (const GroupRecord& group : controller.state().groups)
    for (const LifecycleVersion& version : group.versions) {
      if (group.kept_version == 0 || version.number == group.kept_version) continue;
      for (const NodeId id : version.nodes) {
        const NodeRecord& node = *controller.node(id);
        const bool is_touched = node.updated >= update->began || node.made >= update->began;
        if (node.is_live() && is_touched)
          report_("rolled_back", to_string(id) + " works with version " +
                                     std::to_string(version.number) + " and not " +
                                     std::to_string(group.kept_version));
      }
    }
}

void Checkers::swept(const Controller& controller, Instant now) {
  check_update(controller);
  if (controller.state().breaker.open) {
    for (auto& [id, watch] : jobs_)
      watch.decide_by = std::max(watch.decide_by, now + decision_bound());
    for (auto& [node, since] : cordoned_) since = std::max(since, now);
    return;
  }
  for (auto& [id, watch] : jobs_) {
    if (watch.fault.empty()) continue;
    const auto found = controller.state().jobs.find(id);
    if (found == controller.state().jobs.end()) continue;
    const JobRecord& job = found->second;
    const bool decided = job.has_ended() || job.attempt.number > watch.hit ||
                         job.state == JobState::kQueued || job.state == JobState::kStopping;
    if (decided) {
      watch.fault.clear();
    } else if (now > watch.decide_by) {
      report_("decision", to_string(id) + ": nothing was decided about " + watch.fault +
                              "; it is " + std::string(word_of(job.state)));
      watch.fault.clear();
    }
  }
  for (auto it = cordoned_.begin(); it != cordoned_.end();) {
    if (now - it->second < kDrainTimeout + kStopGrace + kSlack) {
      ++it;
      continue;
    }
    const auto ranks = on_node_.find(it->first);
    if (ranks != on_node_.end() && !ranks->second.empty() && is_member(it->first))
      report_("drained", to_string(it->first) + " is cordoned, and its ranks are not dead");
    it = cordoned_.erase(it);
  }
}

// --- at the end

void Checkers::settled(const Controller& controller, const std::vector<NodeId>& alive,
                       Instant now) {
  const ClusterState& state = controller.state();
  if (state.software_update && state.software_update->is_under_way())
    report_("converges", "a software update is under way");
  for (const JobId id : controller.open_jobs()) check_waiting(state.jobs.at(id), controller, now);
  for (const auto& [id, incident] : state.incidents)
    if (incident.state == IncidentState::kOpen && incident.job &&
        state.jobs.at(incident.job).has_ended())
      report_("converges", to_string(id) + " is open and its job has ended");
  for (const auto& [id, attempts] : alive_) {
    const auto job = state.jobs.find(id);
    if (job == state.jobs.end() || !job->second.has_ended()) continue;
    for (const auto& [attempt, nodes] : attempts)
      for (const auto& [node, count] : nodes)
        if (is_member(node))
          report_("converges",
                  to_string(id) + " has ended and a rank of it lives on " + to_string(node));
  }
  for (const NodeId node : alive) {
    const auto found = state.nodes.find(node);
    if (found == state.nodes.end() || found->second.state == NodeState::kGone)
      report_("leak", to_string(node) + " runs and belongs to nobody");
    else if (found->second.state == NodeState::kCordoned ||
             found->second.state == NodeState::kReplacing)
      report_("leak", to_string(node) + " is " + std::string(word_of(found->second.state)) +
                          " for good: " + found->second.reason);
  }
  std::uint32_t members = 0;
  std::map<std::uint32_t, std::uint32_t> spares, filled;  // by group
  for (const auto& [id, node] : state.nodes) {
    if (node.is_live() || node.is_coming()) ++members;
    if (node.state == NodeState::kDeepHealthCheck)
      report_("converges", to_string(id) + " is held for " + to_string(node.check) + " for good");
    if (node.state == NodeState::kHealthy && node.place == 0 && !node.job) ++spares[node.group];
    if (node.place != 0) ++filled[node.group];
  }
  for (const InstanceGroup& group : state.spec.groups)
    if (spares[group.number] > 0 && filled[group.number] < group.count)
      report_("leak",
              std::to_string(spares[group.number]) + " spare(s) idle beside an empty place");
  const bool exhausted =
      (state.spec.machines_max != 0 && state.nodes_made >= state.spec.machines_max) ||
      std::ranges::any_of(state.groups, [](const GroupRecord& group) {
        return group.provisioning_failures >= kProvisioningFailuresMax;
      });
  if (members < state.spec.nodes() + state.spec.spares() && !exhausted)
    report_("leak", "the pool has " + std::to_string(members) + " machines and is not refilled");
  if (state.breaker.open && scenario_.policy.operator_closes_breaker_after)
    report_("converges", "the breaker is open");
}

// A job may only train, or wait for machines that nobody can give.
void Checkers::check_waiting(const JobRecord& job, const Controller& controller, Instant now) {
  constexpr Duration kRecent = minutes(5);
  if (job.is_live() && now - job.attempt.started < kRecent) return;
  if (job.incident &&
      now - controller.state().incidents.at(job.incident).phases[0].value_or(now) < kRecent)
    return;
  if (job.state == JobState::kRunning && !job.incident) return;
  const ClusterState& state = controller.state();
  std::uint32_t free = 0, coming = 0;
  const std::set<NodeId> odd = job.spec.allow_drifted ? std::set<NodeId>() : drifted(state);
  const InstanceGroup* group = state.spec.find_group(job.spec.instance_group);
  for (const auto& [id, node] : state.nodes) {
    if (node.is_coming() || node.state == NodeState::kDeepHealthCheck) ++coming;
    const bool allowed = !odd.contains(id) && (job.spec.instance_group.empty() ||
                                               (group != nullptr && group->number == node.group));
    if (allowed && node.state == NodeState::kHealthy && !node.job && node.place != 0) ++free;
  }
  const bool waits = job.state == JobState::kQueued && free < job.spec.nodes_min &&
                     job.reason.find("waits for ") == 0;
  const bool held_by_others = controller.open_jobs().size() > 1 && controller.nodes().busy > 0;
  if (waits && (coming == 0 || held_by_others)) return;
  report_("converges", job.spec.name + " does not go on: " + std::string(word_of(job.state)) +
                           ", \"" + job.reason + "\"; " + std::to_string(free) + " free, " +
                           std::to_string(coming) + " coming");
}

}  // namespace holdfast::sim
