#include "core/health/ladder.h"

#include <algorithm>

namespace holdfast {
namespace {

// A device has its own history; what names none goes by its kind.
bool same_symptom(const Repair& repair, const Fault& fault) {
  if (!repair.device.empty() && !fault.device.empty()) return repair.device == fault.device;
  return repair.kind == fault.kind;
}

}  // namespace

Action next_rung(Action action) {
  return action == Action::kResetDevice ? Action::kRebootNode : Action::kReplaceNode;
}

Rung choose_rung(const Fault& fault, const NodeHealth& health, Instant now) {
  const auto lately = std::ranges::count_if(
      health.repairs, [&](const Repair& repair) { return now - repair.at <= kLemonWindow; });
  if (std::cmp_greater_equal(lately, kLemonRepairs) && fault.action != Action::kReplaceNode)
    return {Action::kReplaceNode,
            "repaired " + std::to_string(lately) + " times within a week and ill again: a lemon"};
  Rung rung{fault.action, {}};
  for (const Repair& repair : health.repairs) {
    if (now - repair.at > kRecurrence || !same_symptom(repair, fault)) continue;
    const Action next = next_rung(repair.action);
    if (next <= rung.action) continue;
    rung.action = next;
    rung.reason = "back " + std::to_string((now - repair.at).ms() / 1000) + " s after " +
                  std::string(word_of(repair.action));
  }
  return rung;
}

void keep_fault(NodeHealth& health, const Fault& fault, bool present, Instant now) {
  const auto same = std::ranges::find_if(health.faults, [&](const NodeFault& one) {
    return one.fault.kind == fault.kind && one.fault.code == fault.code &&
           one.fault.device == fault.device;
  });
  NodeFault kept{fault, now, now, 1, present};
  if (same != health.faults.end()) {
    kept.first = same->first;
    // Told again because the control plane may have missed it.
    kept.times = same->times + (same->present && present ? 0 : 1);
    health.faults.erase(same);
  }
  if (health.faults.size() >= kFaultsKept) {
    // What lasts is not forgotten for what is over.
    const auto over = std::ranges::find(health.faults, false, &NodeFault::present);
    health.faults.erase(over == health.faults.end() ? health.faults.begin() : over);
  }
  health.faults.push_back(std::move(kept));
}

bool clear_fault(NodeHealth& health, const std::string& kind, const std::string& device,
                 Instant now) {
  for (NodeFault& one : health.faults) {
    if (!one.present || one.fault.kind != kind || one.fault.device != device) continue;
    one.present = false;
    one.last = now;
    return true;
  }
  return false;
}

const Fault* present_obstacle(const NodeHealth& health) {
  for (const NodeFault& one : health.faults)
    if (one.present && one.fault.action == Action::kRestartOnOtherNodes) return &one.fault;
  return nullptr;
}

}  // namespace holdfast
