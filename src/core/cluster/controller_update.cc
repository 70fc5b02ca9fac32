// Software updates: batch by batch, nodes leave their work, start anew and come back.

#include <algorithm>

#include "core/cluster/controller.h"

namespace holdfast {

using effect::Severity;

Result<void> Controller::check_update(const event::SoftwareUpdateAsked& asked) const {
  const auto& running = state_.software_update;
  if (state_.phase != ClusterPhase::kInService)
    return Error{Errc::kWrongState, "cluster: '" + state_.spec.name + "' is " +
                                        std::string(word_of(state_.phase)) +
                                        "; its software is updated when it is InService"};
  if (running && running->state == SoftwareUpdateState::kInProgress)
    return Error{Errc::kWrongState, "cluster: a software update is under way already"};
  if (asked.batch == 0) return Error{Errc::kInvalidField, "batch: give at least 1"};
  for (const std::string& name : asked.groups)
    if (state_.spec.find_group(name) == nullptr)
      return Error{Errc::kNotFound, "groups: there is no group '" + name + "'"};
  return {};
}

void Controller::on(const event::SoftwareUpdateAsked& asked) {
  if (!check_update(asked).ok()) return;
  SoftwareUpdate update{.by = asked.by, .batch = asked.batch, .wait = asked.wait};
  update.began = update.next_at = now_;
  for (const InstanceGroup& group : state_.spec.groups)
    if (asked.groups.empty() || std::ranges::find(asked.groups, group.name) != asked.groups.end())
      update.groups.push_back(group.number);
  // Spares first: what an update breaks, it then breaks where nothing runs.
  std::vector<std::pair<std::uint32_t, NodeId>> nodes;
  for (const NodeId id : index_.live)
    if (std::ranges::find(update.groups, node(id)->group) != update.groups.end())
      nodes.emplace_back(node(id)->place, id);
  std::ranges::sort(nodes);
  for (const auto& [place, id] : nodes) update.pending.push_back(id);
  audit(Severity::kInfo, "update.began",
        "software update of " + std::to_string(nodes.size()) + " node(s), " +
            std::to_string(asked.batch) + " at a time, asked for by " + asked.by);
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
  if (update.state != SoftwareUpdateState::kInProgress || !update.under_way.empty()) return;
  if (update.failed > 0 || update.pending.empty()) return end_update();
  if (now_ < update.next_at) return update_soon(update.next_at);
  std::vector<NodeId> batch;
  while (batch.size() < update.batch && !update.pending.empty()) {
    const NodeRecord* next = node(update.pending.front());
    update.pending.erase(update.pending.begin());
    if (next != nullptr && next->is_live()) batch.push_back(next->id);
  }
  const std::string why = "software update asked for by " + update.by;
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
  if (batch.empty()) update_soon(now_);
  start_queued_jobs();
}

// It is back at work, or will never be.
void Controller::update_over(NodeRecord& node) {
  node.updating = false;
  if (!state_.software_update || state_.software_update->under_way.erase(node.id) == 0) return;
  SoftwareUpdate& update = *state_.software_update;
  ++(node.state == NodeState::kHealthy ? update.updated : update.failed);
  if (!update.under_way.empty()) return;
  update.next_at = now_ + (update.pending.empty() ? Duration{} : update.wait);
  update_soon(update.next_at);
}

// What has failed on one node is not tried on the others.
void Controller::end_update() {
  SoftwareUpdate& update = *state_.software_update;
  const bool failed = update.failed > 0;
  update.state = failed ? SoftwareUpdateState::kFailed : SoftwareUpdateState::kSucceeded;
  update.ended = now_;
  const std::string counts = std::to_string(update.updated) + " node(s) updated, " +
                             std::to_string(update.failed) + " failed, " +
                             std::to_string(update.pending.size()) + " not touched";
  audit(failed ? Severity::kAlert : Severity::kInfo, failed ? "update.failed" : "update.done",
        "software update: " + counts);
  if (failed) state_.failure = "software update: " + counts;
  update.pending.clear();
  set_phase(ClusterPhase::kInService, "software update: " + counts);
}

}  // namespace holdfast
