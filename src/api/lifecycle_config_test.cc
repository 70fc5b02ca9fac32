#include "api/lifecycle_config.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace holdfast {
namespace {

TEST(LifecycleConfig, SaysWhoIsThere) {
  InstanceGroup group{.name = "workers", .instance_types = {"ml.p5.48xlarge"}};
  group.lifecycle = {.source = "s3://bucket/scripts", .on_create = "on_create.sh"};
  ClusterState state;
  state.spec.name = "c1";
  state.spec.groups = {group};
  state.nodes[NodeId{1}] = {.id = NodeId{1}, .address = "10.0.0.1"};
  state.nodes[NodeId{2}] = {.id = NodeId{2}};
  state.nodes[NodeId{3}] = {.id = NodeId{3}, .state = NodeState::kGone, .address = "10.0.0.3"};
  state.nodes[NodeId{4}] = {.id = NodeId{4}, .address = "10.0.0.4"};
  const auto files = lifecycle_config(
      state, group, {"arn:x", [](NodeId node) { return "i-" + std::to_string(node.value); }});
  const auto resources = nlohmann::json::parse(files.at("resource_config.json"));
  EXPECT_EQ(resources["ClusterConfig"]["ClusterName"], "c1");
  const auto& workers = resources["InstanceGroups"][0];
  EXPECT_EQ(workers["Name"], "workers");
  EXPECT_EQ(workers["InstanceType"], "ml.p5.48xlarge");
  ASSERT_EQ(workers["Instances"].size(), 2u) << "those who have joined and are not gone";
  EXPECT_EQ(workers["Instances"][1]["InstanceName"], "workers-2");
  EXPECT_EQ(workers["Instances"][1]["InstanceId"], "i-4");
  EXPECT_EQ(workers["Instances"][1]["CustomerIpAddress"], "10.0.0.4");
  const auto scripts = nlohmann::json::parse(files.at("life_cycle_config.json"));
  EXPECT_EQ(scripts["OnCreate"], "on_create.sh");
  EXPECT_FALSE(scripts.contains("OnInitComplete"));
}

}  // namespace
}  // namespace holdfast
