#include "api/lifecycle_config.h"

#include <nlohmann/json.hpp>

namespace holdfast {
namespace {

using nlohmann::json;

std::string text_of(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

json instances_of(const ClusterState& state, const InstanceGroup& group,
                  const LifecycleNames& names) {
  json instances = json::array();
  for (const auto& [id, node] : state.nodes) {
    if (node.group != group.number || node.state == NodeState::kGone || node.address.empty())
      continue;
    instances.push_back({{"InstanceName", group.name + "-" + std::to_string(instances.size() + 1)},
                         {"InstanceId", names.instance_id(id)},
                         {"AgentIpAddress", node.address},
                         {"CustomerIpAddress", node.address}});
  }
  return instances;
}

}  // namespace

std::map<std::string, std::string> lifecycle_config(const ClusterState& state,
                                                    const InstanceGroup& group,
                                                    const LifecycleNames& names) {
  json groups = json::array();
  for (const InstanceGroup& one : state.spec.groups)
    groups.push_back(
        {{"Name", one.name},
         {"InstanceType", one.instance_types.empty() ? "" : one.instance_types.front()},
         {"Instances", instances_of(state, one, names)}});
  const json resources{
      {"ClusterConfig", {{"ClusterArn", names.cluster_arn}, {"ClusterName", state.spec.name}}},
      {"InstanceGroups", groups}};
  json scripts{{"SourceS3Uri", group.lifecycle.source}};
  if (!group.lifecycle.on_create.empty()) scripts["OnCreate"] = group.lifecycle.on_create;
  if (!group.lifecycle.on_init_complete.empty())
    scripts["OnInitComplete"] = group.lifecycle.on_init_complete;
  return {{"resource_config.json", text_of(resources)},
          {"life_cycle_config.json", text_of(scripts)}};
}

}  // namespace holdfast
