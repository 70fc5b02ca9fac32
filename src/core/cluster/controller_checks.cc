// Deep checks: who is held for them, one step after the other, and what comes of the results.
//
// A run of checks waits until its nodes have come and have no ranks, then all of them do one step
// at a time. Each step ends when every node has answered, is lost, or is late; so no node is held
// for longer than the budgets say, whatever dies. What a node measured counts only together with
// what the others did (core/checks/judge.h): verdicts come at the end.

#include <algorithm>

#include "core/checks/plan.h"
#include "core/checks/threshold.h"
#include "core/cluster/controller.h"
#include "core/diagnose/verdict.h"

namespace holdfast {

using effect::Severity;

namespace {

// Machines that come at one time are checked together: the first waits so long for the others.
constexpr Duration kGather = seconds(2);
// From a test's budget to the moment at which its node has not answered: the agent ends a test that
// takes too long, and tells.
constexpr Duration kAnswerGrace = seconds(15);
constexpr Duration kStoodStill = seconds(2);  // a timer comes at most a look later than it should
// A control plane that stands still more often than that in one run holds its nodes no longer.
constexpr std::uint32_t kBegunAnewMax = 100;
// With fewer nodes nobody can tell which end of a slow link is slow.
constexpr std::size_t kMembersForLinks = 3;
constexpr std::size_t kResultsPerReport = 64;
constexpr std::size_t kResultsKept = 20'000;  // of all runs that have ended
constexpr std::size_t kLogKept = 4096, kLogKeptPassed = 1024;

void cut(std::string& text, std::size_t most) {
  if (text.size() > most) text.resize(most);
}
void keep_end(std::string& text, std::size_t most) {
  if (text.size() > most) text.erase(0, text.size() - most);
}

// What a node says is bounded before it is kept.
CheckResult cleaned(CheckResult result, NodeId node, const CheckRun& run) {
  result.node = node;
  const bool knows_peer =
      std::any_of(run.members.begin(), run.members.end(),
                  [&](const CheckMember& member) { return member.node == result.peer; });
  if (!knows_peer || result.peer == node) result.peer = {};
  result.threshold.reset();
  cut(result.test, 64);
  cut(result.unit, 16);
  cut(result.reason, 512);
  keep_end(result.log, result.verdict == CheckVerdict::kPassed ? kLogKeptPassed : kLogKept);
  if (result.action != Action::kRebootNode && result.action != Action::kReplaceNode)
    result.action = Action::kNone;
  if (result.value < 0 || result.value > kValueMax) {
    result.value = 0;
    result.unit.clear();
    result.verdict = CheckVerdict::kFailed;
    result.reason = "reported a number that no measurement gives";
  }
  return result;
}

std::string seconds_text(Duration duration) {
  return std::to_string(duration.ms() / 1000) + " s";
}

bool has_ended(const CheckRun& run) {
  return run.state == CheckRunState::kEnded;
}

// Lost, or a test of its own has failed: nothing more is asked of it.
std::set<NodeId> nodes_out(const CheckRun& run) {
  std::set<NodeId> out;
  for (const CheckMember& member : run.members)
    if (member.status != CheckStatus::kInProgress) out.insert(member.node);
  for (const CheckResult& result : run.results)
    if (result.verdict == CheckVerdict::kFailed && !result.peer) out.insert(result.node);
  return out;
}

}  // namespace

Result<void> Controller::check_checks(const event::ChecksAsked& asked) const {
  if (asked.nodes.empty() || asked.kinds.empty())
    return Error{Errc::kInvalidField, "nodes, checks: name at least one of each"};
  std::set<NodeId> named;
  for (const NodeId id : asked.nodes) {
    const NodeRecord* node = this->node(id);
    const std::string name = "nodes: " + to_string(id);
    if (!named.insert(id).second) return Error{Errc::kInvalidField, name + " is named twice"};
    if (node == nullptr || node->state == NodeState::kGone)
      return Error{Errc::kNotFound, name + " is no member; see `holdfast node list`"};
    if (node->state == NodeState::kDeepHealthCheck)
      return Error{Errc::kWrongState, name +
                                          " is being checked already; see `holdfast node check " +
                                          to_string(id) + " --watch`"};
    if (node->state != NodeState::kHealthy)
      return Error{Errc::kWrongState, name + " is " + std::string(word_of(node->state)) +
                                          "; only a healthy node is checked"};
    if (node->job && !asked.drain)
      return Error{Errc::kWrongState,
                   name + " runs ranks of job '" + state_.jobs.at(node->job).spec.name +
                       "'; wait for its end, or give --drain: the job goes on from its last "
                       "checkpoint on other nodes"};
  }
  return {};
}

CheckRun& Controller::make_run(const std::vector<CheckKind>& kinds, const std::string& by) {
  const CheckId id{++state_.checks_made};
  CheckRun& run = state_.checks[id];
  run.id = id;
  run.kinds = kinds;
  run.by = by;
  run.asked = now_;
  check_soon(id);
  return run;
}

void Controller::hold(NodeRecord& node, CheckRun& run, bool is_partner) {
  run.members.push_back({.node = node.id, .is_partner = is_partner});
  node.check = run.id;
  if (!is_partner) node.check_status = CheckStatus::kInProgress;
  set_node(node, NodeState::kDeepHealthCheck,
           (is_partner ? "measures links for deep checks " : "deep checks ") + to_string(run.id));
}

void Controller::admit(NodeRecord& node, const std::vector<CheckKind>& kinds, const std::string& by,
                       const std::string& how) {
  if (kinds.empty()) {
    if (by == "start") provisioning_worked(node);
    node.check_status = CheckStatus::kNone;
    set_node(node, NodeState::kHealthy, how);
    return;
  }
  const auto gathering =
      std::find_if(state_.checks.rbegin(), state_.checks.rend(), [&](const auto& entry) {
        const CheckRun& run = entry.second;
        return run.state == CheckRunState::kWaiting && run.by == by && run.kinds == kinds;
      });
  CheckRun& run = gathering == state_.checks.rend() ? make_run(kinds, by) : gathering->second;
  hold(node, run, false);
  check_soon(run.id);
}

void Controller::on(const event::ChecksAsked& asked) {
  if (!check_checks(asked).ok()) return;
  CheckRun& run = make_run(asked.kinds, asked.by);
  const std::string reason = "taken out for deep checks " + to_string(run.id) + " by " + asked.by;
  for (const NodeId id : asked.nodes) {
    NodeRecord& node = *find_node(id);
    swap_out(id, to_string(id) + " is " + reason);
    hold(node, run, false);
  }
  audit(Severity::kInfo, "check.asked",
        "deep checks " + to_string(run.id) + " of " + std::to_string(asked.nodes.size()) +
            " node(s) asked for by " + asked.by,
        asked.nodes.front());
  for (const NodeId id : asked.nodes) {
    const NodeRecord& node = *find_node(id);
    if (!node.job) continue;
    JobRecord& job = state_.jobs.at(node.job);
    const std::string text = to_string(id) + " is " + reason;
    job.attempt.node_faults.push_back({text, id, std::nullopt, now_, CauseClass::kScheduling});
    if (job.is_live())
      first_sign(job, text);
    else if (job.incident)
      tell(job, text);
  }
}

// Carried on by a timer, so that it never happens in the middle of something else.
void Controller::check_soon(CheckId id) {
  out_->push_back(effect::ArmTimer{{.kind = TimerKind::kCheck, .check = id}, now_});
}

bool Controller::may_begin(const CheckRun& run) const {
  for (const CheckMember& member : run.members)
    if (node(member.node)->job) return false;
  return run.by != "start" || index_.provisioning == 0 || now_ - run.asked >= kGather;
}

void Controller::advance(CheckRun& run) {
  if (has_ended(run)) return;
  const auto arm_at = [&](Instant at) {
    out_->push_back(effect::ArmTimer{{.kind = TimerKind::kCheck, .check = run.id}, at});
  };
  if (run.state == CheckRunState::kWaiting) {
    if (!may_begin(run)) {
      if (now_ - run.asked < kGather) arm_at(run.asked + kGather);
      return;
    }
    run.state = CheckRunState::kRunning;
    run.began = now_;
    if (std::find(run.kinds.begin(), run.kinds.end(), CheckKind::kInstanceStress) !=
        run.kinds.end())
      run.steps = plan_checks({CheckKind::kInstanceStress}, !state_.spec.checks.scripts.empty(),
                              run.members.size());
    audit(Severity::kInfo, "check.began",
          "deep checks " + to_string(run.id) + " of " + std::to_string(run.members.size()) +
              " node(s) begin",
          run.members.front().node);
    return next_step(run);
  }
  // Long after its time: it was us who stood still.
  if (!run.waiting_for.empty() && now_ - run.step_ends > kStoodStill) begin_step_anew(run);
  if (!run.waiting_for.empty() && now_ < run.step_ends) return arm_at(run.step_ends);
  if (!run.waiting_for.empty())
    miss_answers(run, "no answer within " + seconds_text(state_.spec.checks.test_budget));
  ++run.step;
  next_step(run);
}

// The control plane was away, or its clock was set. No node could tell meanwhile, and what it was
// told last may be lost: the time since the step began is nobody's.
void Controller::begin_step_anew(CheckRun& run) {
  if (run.begun_anew++ >= kBegunAnewMax) return;
  const Duration step = state_.spec.checks.test_budget + kAnswerGrace;
  run.began = *run.began + std::max(Duration{}, now_ - (run.step_ends - step));
  run.step_ends = now_ + step;
}

// Links come last, so that the nodes which help with them are held for moments only.
bool Controller::plan_links(CheckRun& run) {
  const bool wanted = std::find(run.kinds.begin(), run.kinds.end(),
                                CheckKind::kInstanceConnectivity) != run.kinds.end();
  const bool planned = std::any_of(run.steps.begin(), run.steps.end(),
                                   [](const CheckStep& step) { return needs_peers(step.test); });
  const std::size_t out = nodes_out(run).size();
  if (!wanted || planned || run.is_confirming || out == run.members.size()) return false;
  while (run.members.size() - out < kMembersForLinks) {
    if (!index_.idle_spares.empty())
      hold(*find_node(*index_.idle_spares.begin()), run, true);
    else if (!index_.free.empty())
      hold(*find_node(index_.free.rbegin()->second), run, true);
    else
      break;
  }
  for (CheckStep& step : plan_checks({CheckKind::kInstanceConnectivity}, false, run.members.size()))
    run.steps.push_back(std::move(step));
  if (run.members.size() - out < 2)
    for (const CheckMember& member : run.members)
      run.results.push_back({.test = std::string(check_test::kLink),
                             .node = member.node,
                             .verdict = CheckVerdict::kSkipped,
                             .reason = "no other node is idle to measure a link with"});
  return run.step < run.steps.size();
}

void Controller::next_step(CheckRun& run) {
  if (now_ - *run.began >= state_.spec.checks.budget && run.step < run.steps.size()) {
    run.waiting_for.clear();
    if (!run.is_confirming)
      for (const CheckMember& member : run.members)
        if (!member.is_partner) run.waiting_for.insert(member.node);
    for (const NodeId id : nodes_out(run)) run.waiting_for.erase(id);
    miss_answers(
        run, "not done: the budget of " + seconds_text(state_.spec.checks.budget) + " was used up");
    run.is_confirming = true;
    return conclude(run);
  }
  for (;;) {
    if (run.step >= run.steps.size() && !plan_links(run)) return conclude(run);
    const auto groups = groups_of(run.steps[run.step], run.members, nodes_out(run));
    if (!groups.empty()) return start_step(run, groups);
    ++run.step;
  }
}

void Controller::start_step(CheckRun& run, const std::vector<std::vector<NodeId>>& groups) {
  const DeepChecks& spec = state_.spec.checks;
  run.waiting_for.clear();
  for (const std::vector<NodeId>& group : groups)
    for (const NodeId id : group) run.waiting_for.insert(id);
  run.step_ends = std::min(now_ + spec.test_budget, *run.began + spec.budget) + kAnswerGrace;
  for (const NodeId id : run.waiting_for) resend_check(*find_node(id));
  check_soon(run.id);
}

// Also to a node that has lost the connection, or what it ran.
void Controller::resend_check(const NodeRecord& node) {
  const auto found = state_.checks.find(node.check);
  if (found == state_.checks.end()) return;
  const CheckRun& run = found->second;
  if (run.state != CheckRunState::kRunning || !run.waiting_for.contains(node.id)) return;
  const CheckStep& step = run.steps[run.step];
  const DeepChecks& spec = state_.spec.checks;
  server_message::StartCheck start{.check = run.id,
                                   .step = run.step,
                                   .test = step.test,
                                   .scripts = spec.scripts,
                                   .load = spec.load,
                                   .budget = spec.test_budget};
  if (needs_peers(step.test)) {
    for (const auto& group : groups_of(step, run.members, nodes_out(run))) {
      const auto place = std::find(group.begin(), group.end(), node.id);
      if (place == group.end()) continue;
      start.position = static_cast<std::uint32_t>(place - group.begin());
      for (const NodeId id : group) {
        const NodeRecord& peer = *find_node(id);
        start.peers.push_back({id, peer.address, peer.rendezvous_port});
      }
    }
    if (start.peers.empty()) return;  // its peer is out since: it will be late
  }
  send(node.id, std::move(start));
}

void Controller::miss_answers(CheckRun& run, const std::string& reason) {
  const std::string test = run.step < run.steps.size() ? run.steps[run.step].test : "";
  std::set<NodeId> alone;  // whom they measured with is out since: that says nothing about them
  if (needs_peers(test)) {
    alone = run.waiting_for;
    for (const auto& group : groups_of(run.steps[run.step], run.members, nodes_out(run)))
      for (const NodeId id : group) alone.erase(id);
  }
  for (const NodeId id : run.waiting_for) {
    if (alone.contains(id)) continue;
    run.results.push_back({.test = test,
                           .node = id,
                           .verdict = CheckVerdict::kFailed,
                           .action = Action::kRebootNode,
                           .reason = reason});
    send(id, server_message::StopCheck{run.id});
  }
  run.waiting_for.clear();
}

void Controller::on(const event::CheckReported& reported) {
  const agent_message::CheckReport& report = reported.report;
  const auto found = state_.checks.find(report.check);
  if (found == state_.checks.end()) return;
  CheckRun& run = found->second;
  if (run.state != CheckRunState::kRunning || report.step != run.step ||
      run.waiting_for.erase(reported.node) == 0)
    return;
  for (std::size_t i = 0; i < report.results.size() && i < kResultsPerReport; ++i)
    run.results.push_back(cleaned(report.results[i], reported.node, run));
  if (run.waiting_for.empty()) advance(run);
}

void Controller::checked_node_lost(NodeRecord& node, const std::string& reason, bool is_unwanted) {
  const auto found = state_.checks.find(node.check);
  if (found == state_.checks.end()) return;
  CheckRun& run = found->second;
  if (run.by == "start" && !is_unwanted) provisioning_failed(node, reason);
  node.check_status = CheckStatus::kFailed;
  for (CheckMember& member : run.members) {
    if (member.node != node.id) continue;
    member.status = CheckStatus::kFailed;
    member.reason = "was lost: " + reason;
  }
  run.waiting_for.erase(node.id);
  check_soon(run.id);
}

// A finding that the tests have provoked, or that came by chance: the node does not pass.
void Controller::fault_in_check(NodeRecord& node, const Fault& fault) {
  const auto found = state_.checks.find(node.check);
  if (found == state_.checks.end() || !condemns_node(fault)) return;
  CheckRun& run = found->second;
  run.results.push_back(cleaned(
      {.test = "kernel_log",
       .verdict = CheckVerdict::kFailed,
       .action = fault.action == Action::kReplaceNode ? Action::kReplaceNode : Action::kRebootNode,
       .reason =
           fault.kind + " " + std::to_string(fault.code) + " while it was checked: " + fault.line},
      node.id, run));
}

FleetValues Controller::fleet_values(const CheckRun& run) const {
  FleetValues values;
  for (auto other = state_.checks.rbegin(); other != state_.checks.rend(); ++other) {
    if (other->first == run.id || !has_ended(other->second)) continue;
    for (const CheckResult& result : other->second.results)
      if (!result.unit.empty() && result.verdict == CheckVerdict::kPassed)
        values[result.test].try_emplace(result.node, result.value);
  }
  return values;
}

void Controller::conclude(CheckRun& run) {
  std::map<NodeId, std::string> types;
  const FleetValues fleet = fleet_values(run);
  for (const auto& [test, by_node] : fleet)
    for (const auto& [id, value] : by_node)
      if (const NodeRecord* other = node(id)) types[id] = other->instance_type;
  for (const CheckMember& member : run.members)
    types[member.node] = find_node(member.node)->instance_type;
  Judgement judgement = holdfast::judge(run, fleet, state_.spec.checks.floors, types);
  if (!run.is_confirming && !judgement.confirm.empty()) {
    run.is_confirming = true;
    for (std::size_t i = 0; i < run.results.size(); ++i)
      if (judgement.results[i].verdict == CheckVerdict::kPassed)
        run.results[i] = std::move(judgement.results[i]);
    for (CheckStep& step : judgement.confirm) run.steps.push_back(std::move(step));
    return next_step(run);
  }
  run.results = std::move(judgement.results);
  run.state = CheckRunState::kEnded;
  run.ended = now_;
  run.waiting_for.clear();
  std::vector<NodeId> passed, failed;
  for (CheckMember& member : run.members) {
    NodeRecord& node = *find_node(member.node);
    if (node.state != NodeState::kDeepHealthCheck) continue;  // lost
    const auto bad = judgement.bad.find(member.node);
    member.status = bad == judgement.bad.end() ? CheckStatus::kPassed : CheckStatus::kFailed;
    if (bad != judgement.bad.end()) member.reason = bad->second.summary;
    if (!member.is_partner || bad != judgement.bad.end()) node.check_status = member.status;
    (bad == judgement.bad.end() ? passed : failed).push_back(member.node);
  }
  for (const NodeId id : passed) {
    NodeRecord& node = *find_node(id);
    if (run.by == "start") provisioning_worked(node);
    set_node(node, NodeState::kHealthy, "deep checks " + to_string(run.id) + " passed");
    hold_back(node);
  }
  // All at once, so that the breaker sees how many they are before the first one goes.
  for (const NodeId id : failed)
    set_node(*find_node(id), NodeState::kSuspect, judgement.bad.at(id).summary);
  static_cast<void>(breaker_lets(failed));
  audit(failed.empty() ? Severity::kInfo : Severity::kWarning,
        failed.empty() ? "check.passed" : "check.failed",
        "deep checks " + to_string(run.id) + ": " + std::to_string(passed.size()) +
            " node(s) passed, " + std::to_string(failed.size()) + " failed",
        failed.empty() ? run.members.front().node : failed.front());
  for (const NodeId id : failed) fail_checks(*find_node(id), judgement.bad.at(id), run);
  fill_places();
  refill_pool();
  start_queued_jobs();
  for (const NodeId id : passed) warm_up(*find_node(id));
  forget_old_checks();
}

// Like every other finding from here on; what it adds is an incident of its own, because no job had
// the node.
void Controller::fail_checks(NodeRecord& node, const CheckFinding& finding, const CheckRun& run) {
  if (run.by == "start") provisioning_failed(node, finding.summary);
  const IncidentId id{++state_.incidents_made};
  IncidentRecord& incident = state_.incidents[id];
  incident.id = id;
  incident.phases[static_cast<std::size_t>(Phase::kNoticed)] = now_;
  incident.phases[static_cast<std::size_t>(Phase::kDecided)] = now_;
  Verdict verdict{.cause = finding.cause,
                  .action = finding.action,
                  .confidence = Confidence::kHigh,
                  .summary = to_string(node.id) + ": " + finding.summary,
                  .nodes = {node.id}};
  for (const std::string& line : finding.evidence)
    verdict.evidence.push_back({line, node.id, std::nullopt, now_, finding.cause});
  incident.verdicts.push_back(std::move(verdict));
  incident.story.push_back(
      {now_, to_string(node.id) + " failed its deep checks: " + finding.summary});
  audit(Severity::kWarning, "incident", incident.story.back().text, node.id, {}, id);
  on(event::NodeFault{node.id,
                      {.kind = "deep_check",
                       .cause = finding.cause,
                       .action = finding.action,
                       .line = finding.summary}});
  settle_node_incidents();
}

// What was found on a node that no job had is over when the node is out.
void Controller::settle_node_incidents() {
  for (auto incident = state_.incidents.rbegin(); incident != state_.incidents.rend(); ++incident) {
    IncidentRecord& record = incident->second;
    if (record.job || record.state != IncidentState::kOpen) continue;
    const NodeId id = record.verdicts.back().nodes.front();
    const NodeState state = find_node(id)->state;
    if (state == NodeState::kSuspect) continue;  // the breaker waits for a person
    record.state = IncidentState::kRecovered;
    record.story.push_back(
        {now_, to_string(id) + " is out of work (" + std::string(word_of(state)) + ")"});
  }
}

void Controller::forget_old_checks() {
  std::size_t kept = 0;
  bool is_newest = true;
  for (auto run = state_.checks.end(); run != state_.checks.begin();) {
    --run;
    if (!has_ended(run->second)) continue;
    kept += run->second.results.size();
    if (!is_newest && kept > kResultsKept) run = state_.checks.erase(run);
    is_newest = false;
  }
}

}  // namespace holdfast
