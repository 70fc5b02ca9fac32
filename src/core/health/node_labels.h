#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/node.h"

namespace holdfast {

// A node's health in the words that HyperPod publishes on its nodes (labels, taints and the
// annotation of its faults), and where it stands in the network (layer 1 is the farthest), so that
// dashboards and schedulers made for those work. Source: AWS documentation,
// sagemaker-hyperpod-eks-resiliency-node-labels. Derived from the record alone.
inline constexpr std::string_view kLabelPrefix = "sagemaker.amazonaws.com/";

struct NodeLabels {
  std::map<std::string, std::string> labels;
  std::vector<std::string> taints;  // "KEY=VALUE:EFFECT"
};
// `group`: the name of its instance group.
[[nodiscard]] NodeLabels labels_of(const NodeRecord& node, const std::string& group);

// "NvidiaErrorReboot": the family of the fault and what it asks for. Of the characters that
// Kubernetes allows in a label.
[[nodiscard]] std::string fault_type(const Fault& fault);
// "Xid79", "GpuEccUncorrected".
[[nodiscard]] std::string fault_reason(const Fault& fault);

// One sentence of a node's health: "healthy", "being reset since ...: why".
[[nodiscard]] std::string health_sentence(const NodeRecord& node);

}  // namespace holdfast
