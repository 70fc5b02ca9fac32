// Software updates: batch by batch, nodes leave their work, start anew and come back. When one does
// not, or a named alarm is raised, those that were updated do the same once more, with the
// lifecycle scripts of before: their group keeps those until it is updated again.
//
//   in_progress -> succeeded
//   in_progress -> rolling_back -> rolled_back, or failed when not all could go back

#include <algorithm>

#include "core/cluster/controller.h"

namespace holdfast {

using effect::Severity;

namespace {

// Of an update that says nothing of its batches; and of a rollback that says nothing, as
// CloudFormation's documentation of AWS::SageMaker::Cluster has it.
constexpr BatchSize kBatch{.percent = 25}, kRollbackBatch{.percent = 100};
// From one look at nodes that deep checks hold to the next.
constexpr Duration kLookAgain = seconds(10);

std::uint32_t batch_of(const BatchSize& asked, const BatchSize& usual, std::size_t nodes) {
  const BatchSize& size = asked == BatchSize{} ? usual : asked;
  const std::uint64_t share = nodes * std::uint64_t{size.percent} / 100;
  return std::max(1u, size.nodes > 0 ? size.nodes : static_cast<std::uint32_t>(share));
}

std::string nodes_text(std::uint32_t count, const std::string& what) {
  return std::to_string(count) + " " + what;
}

}  // namespace

Result<void> Controller::check_update(const event::SoftwareUpdateAsked& asked) const {
  const auto& running = state_.software_update;
  if (state_.phase != ClusterPhase::kInService)
    return Error{Errc::kWrongState, "cluster: '" + state_.spec.name + "' is " +
                                        std::string(word_of(state_.phase)) +
                                        "; its software is updated when it is InService"};
  if (running && running->is_under_way())
    return Error{Errc::kWrongState, "cluster: a software update is under way already"};
  for (const std::string& name : asked.groups)
    if (state_.spec.find_group(name) == nullptr)
      return Error{Errc::kNotFound, "groups: there is no group '" + name + "'"};
  return {};
}

void Controller::on(const event::SoftwareUpdateAsked& asked) {
  if (!check_update(asked).ok()) return;
  SoftwareUpdate update{.by = asked.by, .deployment = asked.deployment};
  update.began = update.next_at = now_;
  for (const InstanceGroup& group : state_.spec.groups) {
    if (!asked.groups.empty() && std::ranges::find(asked.groups, group.name) == asked.groups.end())
      continue;
    update.groups.push_back(group.number);
    GroupRecord& record = *find_group(group.number);
    record.former_version = usual_version(record);
    record.kept_version = 0;
  }
  // Spares first: what an update breaks, it then breaks where nothing runs.
  std::vector<std::pair<std::uint32_t, NodeId>> nodes;
  for (const NodeId id : index_.live)
    if (std::ranges::find(update.groups, node(id)->group) != update.groups.end())
      nodes.emplace_back(node(id)->place, id);
  std::ranges::sort(nodes);
  for (const auto& [place, id] : nodes) update.pending.push_back(id);
  update.batch = batch_of(asked.deployment.batch, kBatch, nodes.size());
  audit(Severity::kInfo, "update.began",
        "software update of " + std::to_string(nodes.size()) + " node(s), " +
            std::to_string(update.batch) + " at a time, asked for by " + asked.by);
  state_.software_update = std::move(update);
  set_phase(ClusterPhase::kSystemUpdating, "asked for by " + asked.by);
  advance_update();
}

void Controller::update_soon(Instant at) {
  out_->push_back(effect::ArmTimer{{.kind = TimerKind::kUpdate}, at});
}

void Controller::advance_update() {
  if (!state_.software_update || state_.down) return;
  SoftwareUpdate& update = *state_.software_update;
  if (!update.is_under_way() || !update.under_way.empty()) return;
  if (update.state == SoftwareUpdateState::kInProgress && !update.failure.empty())
    begin_rollback(update);
  if (now_ < update.next_at) return update_soon(update.next_at);
  if (update.pending.empty()) return end_update();
  take_batch(update);
}

void Controller::take_batch(SoftwareUpdate& update) {
  const bool is_back = update.state == SoftwareUpdateState::kRollingBack;
  const std::uint32_t size = is_back ? update.rollback_batch : update.batch;
  std::vector<NodeId> batch, held;
  while (batch.size() + update.under_way.size() < size && !update.pending.empty()) {
    NodeRecord* next = find_node(update.pending.front());
    update.pending.erase(update.pending.begin());
    if (next == nullptr) continue;
    if (next->is_live() || (is_back && next->state == NodeState::kLifecycleScript)) {
      batch.push_back(next->id);
    } else if (is_back && next->state == NodeState::kDeepHealthCheck) {
      held.push_back(next->id);
    } else if (is_back && (next->is_coming() ||
                           (next->state == NodeState::kCordoned && state_.spec.recovers_nodes))) {
      // It is away for a cure: when it comes back from it, as from an update.
      next->updating = true;
      update.under_way.insert(next->id);
    } else if (is_back && next->state == NodeState::kCordoned) {
      ++update.stayed;  // it waits for a person
    }
  }
  update.pending.insert(update.pending.end(), held.begin(), held.end());
  const std::string why =
      (is_back ? "back from the software update asked for by " : "software update asked for by ") +
      update.by;
  for (const NodeId id : batch) {
    NodeRecord& node = *find_node(id);
    node.updating = true;
    node.updated = now_;
    node.health.due_for.reset();
    update.under_way.insert(id);
  }
  for (const NodeId id : batch) {
    const std::string reason = to_string(id) + ": " + why;
    cordon_node(*find_node(id), reason, {reason, id, std::nullopt, now_, CauseClass::kScheduling},
                Action::kRebootNode);
  }
  if (update.under_way.empty()) update_soon(held.empty() ? now_ : now_ + kLookAgain);
  start_queued_jobs();
}

// It is back at work, or will never be; why.
void Controller::update_over(NodeRecord& node, const std::string& reason) {
  node.updating = false;
  if (!state_.software_update || state_.software_update->under_way.erase(node.id) == 0) return;
  SoftwareUpdate& update = *state_.software_update;
  const bool is_well = node.state == NodeState::kHealthy;
  const bool is_back = update.state == SoftwareUpdateState::kRollingBack;
  ++(is_back ? (is_well ? update.went_back : update.stayed)
             : (is_well ? update.updated : update.failed));
  if (!is_well && !is_back && update.failure.empty())
    update.failure = to_string(node.id) + " did not come back: " + reason;
  if (!update.under_way.empty()) return;
  // An alarm that the last batch raises is waited for as well.
  const bool waits = !is_back && update.failure.empty() &&
                     (!update.pending.empty() || !update.deployment.alarms.empty());
  update.next_at = now_ + (waits ? update.deployment.wait : Duration{});
  update_soon(update.next_at);
}

void Controller::heed_alarm(const std::string& kind, const std::string& text) {
  if (!state_.software_update) return;
  SoftwareUpdate& update = *state_.software_update;
  const auto& alarms = update.deployment.alarms;
  if (update.state != SoftwareUpdateState::kInProgress || !update.failure.empty() ||
      std::ranges::find(alarms, kind) == alarms.end())
    return;
  update.failure = "alarm '" + kind + "': " + text;
  update.next_at = now_;
  update_soon(now_);
}

bool Controller::goes_back(const NodeRecord& node) {
  const auto& update = state_.software_update;
  const GroupRecord* group = find_group(node.group);
  return node.updating && update && update->state == SoftwareUpdateState::kInProgress &&
         group != nullptr && group->former_version != 0;
}

// What has failed on one node is not tried on the others. Back go those that the update has been
// at, and those that came meanwhile.
void Controller::begin_rollback(SoftwareUpdate& update) {
  update.state = SoftwareUpdateState::kRollingBack;
  update.not_touched = static_cast<std::uint32_t>(update.pending.size());
  update.pending.clear();
  update.next_at = now_;
  for (const std::uint32_t number : update.groups) {
    GroupRecord* group = find_group(number);
    if (group == nullptr || group->former_version == 0) continue;
    group->kept_version = group->former_version;
    for (auto& [id, node] : state_.nodes) {
      const bool is_touched = node.updated >= update.began || node.made >= update.began;
      if (node.group != number || !is_touched) continue;
      const bool is_leaving = node.state == NodeState::kReplacing || node.state == NodeState::kGone;
      const bool runs_scripts = node.state == NodeState::kLifecycleScript;
      if (runs_scripts && node.lifecycle.status == LifecycleStatus::kInProgress)
        begin_lifecycle(node, *scripts_of(node));
      else if (runs_scripts || (!is_leaving && node.state != NodeState::kProvisioning &&
                                version_of(node) != group->kept_version))
        update.pending.push_back(id);
    }
  }
  // Of those that there are now: machines may have come meanwhile.
  const auto nodes = static_cast<std::size_t>(std::ranges::count_if(index_.live, [&](NodeId id) {
    return std::ranges::find(update.groups, node(id)->group) != update.groups.end();
  }));
  update.rollback_batch = batch_of(update.deployment.rollback_batch, kRollbackBatch,
                                   std::max(nodes, update.pending.size()));
  audit(Severity::kWarning, "update.rolling_back",
        "software update: " + update.failure + "; " + std::to_string(update.pending.size()) +
            " node(s) go back to the former lifecycle scripts, " +
            std::to_string(update.rollback_batch) + " at a time",
        {});
}

void Controller::end_update() {
  SoftwareUpdate& update = *state_.software_update;
  update.ended = now_;
  std::string text = "software update: " + nodes_text(update.updated, "node(s) updated");
  if (update.state == SoftwareUpdateState::kInProgress) {
    update.state = SoftwareUpdateState::kSucceeded;
    for (GroupRecord& group : state_.groups) forget_versions(group);
    audit(Severity::kInfo, "update.done", text);
    return set_phase(ClusterPhase::kInService, text);
  }
  text += ", " + nodes_text(update.failed, "failed") + ", " +
          nodes_text(update.not_touched, "not touched");
  std::string kept, bare;
  for (const std::uint32_t number : update.groups) {
    const auto group = std::ranges::find(state_.spec.groups, number, &InstanceGroup::number);
    if (group == state_.spec.groups.end()) continue;
    const std::uint32_t version = find_group(number)->kept_version;
    std::string& names = version != 0 ? kept : bare;
    names += (names.empty() ? "'" : ", '") + group->name +
             (version != 0 ? "' (version " + std::to_string(version) + ")" : "'");
  }
  if (!kept.empty())
    text += "; " + nodes_text(update.went_back, "went back to the former lifecycle scripts, ") +
            nodes_text(update.stayed, "did not") + "; these groups keep them until they are " +
            "updated again: " + kept;
  if (!bare.empty())
    text += "; groups without former lifecycle scripts, which have restarted: " + bare;
  update.state = kept.empty() || update.stayed > 0 ? SoftwareUpdateState::kFailed
                                                   : SoftwareUpdateState::kRolledBack;
  text += "; " + update.failure;
  state_.failure = text;
  audit(Severity::kAlert, "update.failed", text);
  set_phase(ClusterPhase::kInService, text);
}

}  // namespace holdfast
