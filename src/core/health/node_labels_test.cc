#include "core/health/node_labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string label(const NodeRecord& node, const std::string& name) {
  const auto labels = labels_of(node, "workers").labels;
  const auto found = labels.find("sagemaker.amazonaws.com/" + name);
  return found == labels.end() ? std::string() : found->second;
}

TEST(NodeLabels, StatusIsOneOfHyperPodsFour) {
  NodeRecord node;
  for (const auto& [state, due, status] :
       {std::tuple{NodeState::kHealthy, Action::kNone, "Schedulable"},
        {NodeState::kSuspect, Action::kNone, "Unschedulable"},
        {NodeState::kCordoned, Action::kResetDevice, "Unschedulable"},
        {NodeState::kCordoned, Action::kRebootNode, "UnschedulablePendingReboot"},
        {NodeState::kCordoned, Action::kReplaceNode, "UnschedulablePendingReplacement"},
        {NodeState::kResetting, Action::kResetDevice, "Unschedulable"},
        {NodeState::kRebooting, Action::kRebootNode, "UnschedulablePendingReboot"},
        {NodeState::kReplacing, Action::kReplaceNode, "UnschedulablePendingReplacement"}}) {
    node.state = state;
    node.health.due = due;
    EXPECT_EQ(label(node, "node-health-status"), status) << word_of(state);
    const auto taints = labels_of(node, "workers").taints;
    if (state == NodeState::kHealthy)
      EXPECT_THAT(taints, IsEmpty());
    else
      EXPECT_THAT(
          taints,
          ElementsAre("sagemaker.amazonaws.com/node-health-status=Unschedulable:NoSchedule"));
  }
}

TEST(NodeLabels, FaultsAreNamedAsFarAsALabelGoes) {
  NodeRecord node{.state = NodeState::kCordoned};
  EXPECT_EQ(label(node, "fault-types"), "");
  node.health.due = Action::kRebootNode;
  node.health.due_for = Fault{.kind = "xid", .code = 79, .action = Action::kRebootNode};
  EXPECT_EQ(label(node, "fault-types"), "NvidiaErrorReboot");
  EXPECT_EQ(label(node, "fault-reasons"), "Xid79");
  for (int i = 0; i < 20; ++i)
    node.health.faults.push_back({.fault = {.kind = "link_down",
                                            .code = i,
                                            .cause = CauseClass::kInterconnect,
                                            .action = Action::kAskOperator},
                                  .present = true});
  EXPECT_EQ(label(node, "fault-types"), "NvidiaErrorReboot.NetworkError");
  const std::regex allowed("[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?");
  for (const auto& [name, value] : labels_of(node, "workers").labels)
    EXPECT_TRUE(std::regex_match(value, allowed)) << value;
}

TEST(NodeLabels, WhereItStands) {
  NodeRecord node{.location = {.spine = "s1", .rack = "row 3/rack 7!"}};
  const auto labels = labels_of(node, "workers").labels;
  EXPECT_EQ(labels.at("sagemaker.amazonaws.com/instance-group-name"), "workers");
  EXPECT_EQ(labels.at("topology.k8s.aws/network-node-layer-1"), "s1");
  EXPECT_EQ(labels.at("topology.k8s.aws/network-node-layer-2"), "row-3-rack-7");
  EXPECT_FALSE(labels.contains("topology.k8s.aws/network-node-layer-3"));
}

TEST(NodeLabels, HealthExplainsItself) {
  NodeRecord node{.state = NodeState::kResetting, .reason = "n3: gpu_recovery on 0000:3b:00"};
  node.health.due = Action::kResetDevice;
  EXPECT_EQ(health_sentence(node),
            "resetting, due for reset_device: n3: gpu_recovery on 0000:3b:00");
}

}  // namespace
}  // namespace holdfast
