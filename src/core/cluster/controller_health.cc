// A node that is ill: what is found on it, the cure, and its way back. See core/health/ladder.h.

#include <algorithm>

#include "core/cluster/controller.h"
#include "core/diagnose/verdict.h"
#include "core/health/ladder.h"

namespace holdfast {

using effect::Severity;

namespace {

std::string text_of(NodeId node, const Fault& fault) {
  return to_string(node) + ": " + fault.kind +
         (fault.code != 0 ? " " + std::to_string(fault.code) : "") +
         (fault.device.empty() ? "" : " on " + fault.device);
}

}  // namespace

void Controller::on(const event::NodeFault& found) {
  NodeRecord* node = find_node(found.node);
  if (node == nullptr || node->state == NodeState::kGone || node->state == NodeState::kReplacing)
    return;
  const Fault& fault = found.fault;
  keep_fault(node->health, fault, found.present, now_);
  if (node->state == NodeState::kDeepHealthCheck) return fault_in_check(*node, fault);
  if (node->state == NodeState::kLifecycleScript && condemns_node(fault)) {
    // Cured before it works: see on(LifecycleReported).
    node->health.due = std::max(node->health.due, choose_rung(fault, node->health, now_).action);
    node->health.due_for = fault;
  }
  if (!node->is_live()) return;  // it is out already
  const std::string text = text_of(found.node, fault);
  if (fault.action == Action::kAskOperator) {
    audit(Severity::kAlert, "node.fault",
          text + " asks for a person; look at it and `holdfast node replace` if it is bad: " +
              fault.line,
          found.node, node->job);
    return;
  }
  if (found.present && fault.action == Action::kRestartOnOtherNodes) {
    hold_back(*node);
    return;
  }
  if (!condemns_node(fault)) {
    audit(Severity::kInfo, "node.fault", text + ", no reason to touch the node: " + fault.line,
          found.node, node->job);
    return;
  }
  const Rung rung = choose_rung(fault, node->health, now_);
  const std::string reason = rung.reason.empty() ? text : text + "; " + rung.reason;
  const Evidence evidence{reason + ": " + fault.line, found.node, std::nullopt, now_, fault.cause};
  node->health.due = std::max(node->health.due, rung.action);
  node->health.due_for = fault;
  if (!breaker_lets({found.node})) {
    set_node(*node, NodeState::kSuspect, reason);
    return;
  }
  cordon_node(*node, reason, evidence, rung.action);
  start_queued_jobs();
}

// Something lasts on the node that its next work would suffer from: it gets none, and its place
// goes to a spare if there is one. What runs on it goes on. Over by itself (let_back).
void Controller::hold_back(NodeRecord& node) {
  const Fault* obstacle = present_obstacle(node.health);
  if (obstacle == nullptr || node.state != NodeState::kHealthy) return;
  const std::string reason = text_of(node.id, *obstacle);
  const std::string line = obstacle->line;
  if (!breaker_lets({node.id})) {
    audit(Severity::kWarning, "node.fault", reason + ", but the breaker is open: " + line, node.id,
          node.job);
    return;
  }
  swap_out(node.id, reason);
  set_node(node, NodeState::kSuspect, reason);
  audit(Severity::kWarning, "node.held_back",
        to_string(node.id) + " gets no new work while it lasts: " + reason + ": " + line, node.id,
        node.job);
}

void Controller::on(const event::NodeFaultCleared& cleared) {
  NodeRecord* node = find_node(cleared.node);
  if (node == nullptr || !clear_fault(node->health, cleared.kind, cleared.device, now_)) return;
  const std::string what = cleared.kind + (cleared.device.empty() ? "" : " on " + cleared.device);
  audit(Severity::kInfo, "node.fault_over", to_string(cleared.node) + ": " + what + " is over",
        cleared.node, node->job);
  if (node->state != NodeState::kSuspect || node->silent) return;
  // One that only the breaker has kept in the cluster: what it was to be cured of is over.
  const auto& due_for = node->health.due_for;
  if (due_for && due_for->kind == cleared.kind && due_for->device == cleared.device) {
    node->health.due = Action::kNone;
    node->health.due_for.reset();
  }
  if (node->health.due != Action::kNone || present_obstacle(node->health) != nullptr) return;
  set_node(*node, NodeState::kHealthy, what + " is over");
  audit(Severity::kInfo, "node.healed", to_string(node->id) + " is healthy again: " + node->reason,
        node->id);
  fill_places();
  start_queued_jobs();
}

// Its ranks are dead: the node leaves for its cure, on the rung that was chosen.
void Controller::retire_node(NodeRecord& node) {
  // What nobody asked for waits for a person where nodes are not to be recovered.
  if (!state_.spec.recovers_nodes && node.health.due_for) return;
  if (node.health.due == Action::kResetDevice || node.health.due == Action::kRebootNode) {
    begin_repair(node, node.health.due);
    return;
  }
  set_node(node, NodeState::kReplacing, node.reason);
  out_->push_back(effect::Terminate{node.id});
  refill_pool();
}

void Controller::begin_repair(NodeRecord& node, Action action) {
  NodeHealth& health = node.health;
  const Fault fault = health.due_for.value_or(Fault{});
  health.due = action;
  if (health.repairs.size() >= kRepairsKept) health.repairs.erase(health.repairs.begin());
  health.repairs.push_back({action, fault.kind, fault.device, now_});
  ++health.repairs_made;
  const bool reset = action == Action::kResetDevice;
  set_node(node, reset ? NodeState::kResetting : NodeState::kRebooting, node.reason);
  audit(Severity::kInfo, reset ? "node.resetting" : "node.rebooting",
        to_string(node.id) + (reset ? ": its device is reset: " : " is rebooted: ") + node.reason,
        node.id);
  resend_repair(node);
}

// Also after a restart of the control plane, and when the node connects anew.
void Controller::resend_repair(NodeRecord& node) {
  const bool reset = node.state == NodeState::kResetting;
  if (reset) {
    server_message::ResetDevices order{{}, node.reason};
    if (node.health.due_for && !node.health.due_for->device.empty())
      order.devices.push_back(node.health.due_for->device);
    send(node.id, std::move(order));
  } else {
    out_->push_back(effect::Reboot{node.id});
  }
  arm_repair(node);
}

void Controller::arm_repair(const NodeRecord& node) {
  const Duration limit = node.state == NodeState::kResetting ? kResetTimeout : kRebootTimeout;
  const Duration left = std::max(Duration{}, node.since + limit - now_);
  out_->push_back(effect::ArmTimer{
      {TimerKind::kRepair, {}, Attempt{node.health.repairs_made}, node.id}, now_ + left});
}

void Controller::on(const event::DevicesReset& done) {
  NodeRecord* node = find_node(done.node);
  if (node == nullptr || node->state != NodeState::kResetting) return;
  if (!done.ok) {
    climb(*node, "the reset failed: " + done.detail);
    return;
  }
  let_back(*node, "its device was reset: " + done.detail);
}

// The cure has not worked, or the node did not come back from it.
void Controller::climb(NodeRecord& node, const std::string& why) {
  const Action next = next_rung(node.health.due);
  audit(Severity::kWarning, "node.not_repaired",
        to_string(node.id) + ": " + why + "; next: " + std::string(word_of(next)), node.id);
  node.health.due = next;
  node.reason += "; " + why;
  retire_node(node);
}

void Controller::on_repair_late(const TimerId& timer) {
  NodeRecord* node = find_node(timer.node);
  if (node == nullptr || timer.attempt.value != node->health.repairs_made) return;
  if (node->state == NodeState::kResetting) climb(*node, "it did not answer the reset in time");
  if (node->state == NodeState::kRebooting) climb(*node, "it did not come back in time");
}

// After a cure, and its checks: as a spare, or into an empty place. What was found before the cure
// is history; what is still there its monitors tell anew.
void Controller::let_back(NodeRecord& node, const std::string& how) {
  for (NodeFault& one : node.health.faults) one.present = false;
  node.health.due = Action::kNone;
  node.health.due_for.reset();
  audit(Severity::kInfo, "node.repaired", to_string(node.id) + " is back: " + how, node.id);
  // What has failed its checks works only once it has passed them.
  const auto last = state_.checks.find(node.check);
  const bool has_failed = node.check_status == CheckStatus::kFailed && last != state_.checks.end();
  if (node.updating)
    welcome_machine(node);  // as a new one
  else
    admit(node, has_failed ? last->second.kinds : state_.spec.checks.after_repair, "repair", how);
  fill_places();
  refill_pool();
  start_queued_jobs();
  warm_up(node);
}

}  // namespace holdfast
