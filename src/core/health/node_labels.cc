#include "core/health/node_labels.h"

#include <algorithm>

namespace holdfast {
namespace {

constexpr std::size_t kLabelMax = 63;  // Kubernetes

std::string_view health_status(const NodeRecord& node) {
  switch (node.state) {
    case NodeState::kHealthy:
      return "Schedulable";
    case NodeState::kCordoned:
      // HyperPod has no word for a reset in place.
      if (node.health.due == Action::kRebootNode) return "UnschedulablePendingReboot";
      if (node.health.due == Action::kReplaceNode) return "UnschedulablePendingReplacement";
      return "Unschedulable";
    case NodeState::kRebooting:
      return "UnschedulablePendingReboot";
    case NodeState::kReplacing:
      return "UnschedulablePendingReplacement";
    case NodeState::kProvisioning:
    case NodeState::kLifecycleScript:
    case NodeState::kDeepHealthCheck:
    case NodeState::kSuspect:
    case NodeState::kResetting:
    case NodeState::kGone:
      return "Unschedulable";
  }
  return "Unschedulable";
}

// "gpu_ecc_uncorrected" -> "GpuEccUncorrected"
std::string camel(std::string_view words) {
  std::string text;
  bool upper = true;
  for (const char c : words) {
    const bool is_lower = c >= 'a' && c <= 'z';
    const bool is_other = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
    if (!is_lower && !is_other) {
      upper = true;
      continue;
    }
    text += upper && is_lower ? static_cast<char>(c - 'a' + 'A') : c;
    upper = false;
  }
  return text;
}

std::string_view family_of(const Fault& fault) {
  if (fault.kind == "xid" || fault.kind == "sxid" || fault.kind.starts_with("gpu_") ||
      fault.kind.starts_with("device_probe"))
    return "Nvidia";
  if (fault.kind == "efa") return "Efa";
  return fault.cause == CauseClass::kInterconnect ? "Network"
         : fault.cause == CauseClass::kStorage    ? "Storage"
                                                  : "Host";
}

// What a person calls things, in the characters that a label may have.
std::string label_value(const std::string& name) {
  std::string value;
  for (const char c : name.substr(0, kLabelMax)) {
    const bool is_plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    value += is_plain || c == '_' || c == '.' ? c : '-';
  }
  const auto is_end = [](char c) { return c == '-' || c == '_' || c == '.'; };
  while (!value.empty() && is_end(value.back())) value.pop_back();
  value.erase(0, static_cast<std::size_t>(std::ranges::find_if_not(value, is_end) - value.begin()));
  return value;
}

// Joins what is not there yet, as far as a label's value may go.
void add(std::string& list, const std::string& word) {
  if (("." + list + ".").find("." + word + ".") != std::string::npos) return;
  if (list.size() + 1 + word.size() > kLabelMax) return;
  list += (list.empty() ? "" : ".") + word;
}

}  // namespace

std::string fault_type(const Fault& fault) {
  const std::string family = std::string(family_of(fault)) + "Error";
  switch (fault.action) {
    case Action::kResetDevice:
      return family + "Reset";
    case Action::kRebootNode:
      return family + "Reboot";
    case Action::kReplaceNode:
      return family + "Replace";
    default:
      return family;
  }
}

std::string fault_reason(const Fault& fault) {
  return camel(fault.kind) + (fault.code != 0 ? std::to_string(fault.code) : "");
}

NodeLabels labels_of(const NodeRecord& node, const std::string& group) {
  NodeLabels result;
  const std::string prefix(kLabelPrefix);
  const std::string status(health_status(node));
  result.labels[prefix + "node-health-status"] = status;
  if (node.check_status != CheckStatus::kNone)
    result.labels[prefix + "deep-health-check-status"] = word_of(node.check_status);
  const auto name = [&result](const std::string& label, const std::string& value) {
    if (!value.empty()) result.labels[label] = label_value(value);
  };
  name(prefix + "instance-group-name", group);
  name("topology.k8s.aws/network-node-layer-1", node.location.spine);
  name("topology.k8s.aws/network-node-layer-2", node.location.rack);
  name("topology.k8s.aws/network-node-layer-3", node.location.host);
  std::string types, reasons;
  const auto publish = [&](const Fault& fault) {
    add(types, fault_type(fault));
    add(reasons, fault_reason(fault));
  };
  if (node.health.due_for) publish(*node.health.due_for);
  for (const NodeFault& one : node.health.faults)
    if (one.present && one.fault.action != Action::kNone) publish(one.fault);
  if (!types.empty()) {
    result.labels[prefix + "fault-types"] = types;
    result.labels[prefix + "fault-reasons"] = reasons;
  }
  if (status != "Schedulable")
    result.taints.push_back(prefix + "node-health-status=Unschedulable:NoSchedule");
  return result;
}

std::string health_sentence(const NodeRecord& node) {
  std::string text(word_of(node.state));
  if (node.health.due != Action::kNone)
    text += ", due for " + std::string(word_of(node.health.due));
  if (!node.reason.empty()) text += ": " + node.reason;
  const auto lasting = std::ranges::count(node.health.faults, true, &NodeFault::present);
  if (lasting > 0 && node.state == NodeState::kHealthy)
    text += "; " + std::to_string(lasting) + " finding(s) that touch no work";
  return text;
}

}  // namespace holdfast
