#include "api/hyperpod/group_request.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "api/hyperpod/deployment.h"
#include "model/cron.h"
#include "model/json_text.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;

ApiError invalid(const std::string& message) {
  return {ErrorType::kValidation, message};
}

// A file below the folder of the scripts, wherever they are fetched from.
bool is_below(const std::string& path) {
  return !path.starts_with('/') && ("/" + path + "/").find("/../") == std::string::npos &&
         path.find('\0') == std::string::npos;
}

std::optional<ApiError> check_lifecycle(const std::string& group, const json& config) {
  for (const std::string script : {"OnCreate", "OnInitComplete"}) {
    if (!config.contains(script)) continue;
    if (!config.contains("SourceS3Uri"))
      return invalid("Instance group '" + group + "': LifeCycleConfig has " + script +
                     " but no SourceS3Uri. Say where the script is.");
    if (!is_below(config[script].get<std::string>()))
      return invalid("Instance group '" + group + "': " + script + " '" +
                     config[script].get<std::string>() +
                     "' is not below SourceS3Uri. Give a path relative to it.");
  }
  return std::nullopt;
}

std::optional<ApiError> check_group(const json& group) {
  const std::string name = group["InstanceGroupName"];
  const std::string which = "Instance group '" + name + "': ";
  if (group.contains("InstanceType") == group.contains("InstanceRequirements"))
    return invalid(which + "specify exactly one of InstanceType and InstanceRequirements.");
  const std::uint32_t count = group["InstanceCount"];
  const std::uint32_t count_min = group.value("MinInstanceCount", 0U);
  if (count_min > count)
    return invalid(which + "MinInstanceCount " + std::to_string(count_min) +
                   " is more than InstanceCount " + std::to_string(count) + ".");
  if (group.contains("TrainingPlanArn"))
    return invalid(which +
                   "TrainingPlanArn names capacity of AWS. Leave it out: the machines are "
                   "those that the provider of this cluster has.");
  if (group.contains("OnStartDeepHealthChecks") &&
      !read_check_kinds(group["OnStartDeepHealthChecks"]))
    return invalid(which +
                   "OnStartDeepHealthChecks: the checks here are InstanceStress and "
                   "InstanceConnectivity.");
  if (group.contains("ScheduledUpdateConfig")) {
    const json& schedule = group["ScheduledUpdateConfig"];
    const auto cron = parse_cron(schedule["ScheduleExpression"].get<std::string>());
    if (!cron.ok()) return invalid(which + "ScheduleExpression: " + cron.error().detail);
    const auto deployment = read_deployment(schedule.value("DeploymentConfig", json::object()));
    if (const auto* error = std::get_if<ApiError>(&deployment))
      return invalid(which + "ScheduledUpdateConfig." + error->message);
  }
  return check_lifecycle(name, group.value("LifeCycleConfig", json::object()));
}

InstanceGroup read_group(const json& asked) {
  InstanceGroup group{.name = asked["InstanceGroupName"],
                      .count = asked["InstanceCount"],
                      .count_min = asked.value("MinInstanceCount", 0U)};
  if (asked.contains("InstanceType"))
    group.instance_types = {asked["InstanceType"].get<std::string>()};
  else
    group.instance_types =
        asked["InstanceRequirements"]["InstanceTypes"].get<std::vector<std::string>>();
  const json lifecycle = asked.value("LifeCycleConfig", json::object());
  group.lifecycle = {.source = lifecycle.value("SourceS3Uri", ""),
                     .on_create = lifecycle.value("OnCreate", ""),
                     .on_init_complete = lifecycle.value("OnInitComplete", "")};
  if (asked.contains("OnStartDeepHealthChecks"))
    group.checks_on_start =
        read_check_kinds(asked["OnStartDeepHealthChecks"]).value_or(std::vector<CheckKind>{});
  if (asked.contains("ScheduledUpdateConfig")) {
    const json& schedule = asked["ScheduledUpdateConfig"];
    const auto deployment = read_deployment(schedule.value("DeploymentConfig", json::object()));
    group.schedule = {schedule["ScheduleExpression"], std::get<Deployment>(deployment)};
  }
  group.specification = asked.dump();
  return group;
}

InstanceGroup* find_group(ClusterSpec& spec, const std::string& name) {
  const auto found = std::ranges::find(spec.groups, name, &InstanceGroup::name);
  return found == spec.groups.end() ? nullptr : &*found;
}

// Without an error code the group has taken them.
AdditionOutcome judge(ClusterSpec& spec, const request::BatchAddClusterNodes::Addition& asked) {
  InstanceGroup* group = find_group(spec, asked.group);
  if (group == nullptr)
    return {asked, "InstanceGroupNotFound",
            "There is no instance group '" + asked.group + "'. Add it with UpdateCluster."};
  if (!asked.zones.empty())
    return {asked, "IncompatibleAvailabilityZones",
            "Instance group '" + asked.group + "' knows no zones. Leave AvailabilityZones out."};
  for (const std::string& type : asked.instance_types) {
    if (std::ranges::find(group->instance_types, type) == group->instance_types.end())
      return {asked, "IncompatibleInstanceTypes",
              "Instance group '" + asked.group + "' has no instance type " + type + "."};
  }
  if (group->count + asked.count > kGroupInstancesMax)
    return {asked, "InvalidInstanceGroupStatus",
            "Instance group '" + asked.group + "' would have more than " +
                std::to_string(kGroupInstancesMax) + " instances."};
  group->count += asked.count;
  return {asked, "", ""};
}

}  // namespace

std::optional<ApiError> check_cluster_body(const json& body) {
  if (body.contains("RestrictedInstanceGroups") || body.contains("RestrictedInstanceGroupsConfig"))
    return invalid(
        "RestrictedInstanceGroups are for models that only AWS has. Use InstanceGroups.");
  if (body.contains("AutoScaling") && body["AutoScaling"]["Mode"] == "Enable")
    return invalid(
        "AutoScaling: there is no Karpenter here. Leave it out, and scale with "
        "UpdateCluster or BatchAddClusterNodes.");
  if (body.value("Orchestrator", json::object()).size() > 1)
    return invalid("Orchestrator: specify exactly one of Eks and Slurm.");
  std::set<std::string> names;
  for (const json& group : body.value("InstanceGroups", json::array())) {
    if (auto error = check_group(group)) return error;
    const std::string name = group["InstanceGroupName"];
    if (!names.insert(name).second)
      return invalid("InstanceGroups: the name '" + name + "' is there twice. Names are unique.");
  }
  return std::nullopt;
}

std::vector<InstanceGroup> read_groups(const json& body) {
  std::vector<InstanceGroup> groups;
  for (const json& group : body.value("InstanceGroups", json::array()))
    groups.push_back(read_group(group));
  return groups;
}

std::optional<std::vector<CheckKind>> read_check_kinds(const json& words) {
  std::vector<CheckKind> kinds;
  for (const json& word : words) {
    const auto kind = parse_word<CheckKind>(word.get_ref<const std::string&>());
    if (!kind) return std::nullopt;
    if (std::ranges::find(kinds, *kind) == kinds.end()) kinds.push_back(*kind);
  }
  return kinds;
}

std::optional<ApiError> read_tags(const json& body, std::vector<InstanceGroup>& groups) {
  std::set<std::string> keys;
  for (const json& tag : body.value("Tags", json::array())) {
    const std::string key = tag["Key"], value = tag["Value"];
    if (!keys.insert(key).second)
      return invalid("Tags: the key '" + key + "' is there twice. Keys are unique.");
    if (!key.starts_with(kSparesTag)) continue;
    const auto group =
        std::ranges::find(groups, key.substr(kSparesTag.size()), &InstanceGroup::name);
    if (group == groups.end())
      return invalid("Tag '" + key + "': there is no such instance group.");
    const char* const end = value.data() + value.size();
    const auto [read, error] = std::from_chars(value.data(), end, group->spares);
    if (error != std::errc{} || read != end || group->spares > kGroupInstancesMax)
      return invalid("Tag '" + key + "': the value '" + value + "' is not allowed. Give a number " +
                     "of spares, 0 to " + std::to_string(kGroupInstancesMax) + ".");
  }
  return std::nullopt;
}

std::variant<ClusterSpec, ApiError> updated(const ClusterSpec& current,
                                            const request::UpdateCluster& request) {
  ClusterSpec spec = current;
  for (const std::string& name : request.to_delete) {
    if (find_group(spec, name) == nullptr)
      return invalid("InstanceGroupsToDelete: there is no instance group '" + name + "'.");
    if (std::ranges::find(request.groups, name, &InstanceGroup::name) != request.groups.end())
      return invalid("Instance group '" + name +
                     "' is in both InstanceGroups and InstanceGroupsToDelete. Keep one.");
    std::erase_if(spec.groups, [&](const InstanceGroup& group) { return group.name == name; });
  }
  for (const InstanceGroup& asked : request.groups) {
    InstanceGroup* group = find_group(spec, asked.name);
    if (group == nullptr) {
      spec.groups.push_back(asked);
      continue;
    }
    if (asked.instance_types != group->instance_types)
      return invalid("Instance group '" + asked.name + "': its instance types cannot be changed. " +
                     "Add a group with the others, and delete this one.");
    const std::uint32_t number = group->number, spares = group->spares;
    *group = asked;
    group->number = number;
    group->spares = spares;
  }
  if (spec.groups.empty())
    return invalid("InstanceGroupsToDelete: no instance group would be left. Use DeleteCluster.");
  if (spec.groups.size() > kGroupsMax)
    return ApiError{ErrorType::kResourceLimitExceeded,
                    "The cluster would have " + std::to_string(spec.groups.size()) +
                        " instance groups; " + std::to_string(kGroupsMax) + " are the most."};
  spec.recovers_nodes = request.recovers_nodes.value_or(spec.recovers_nodes);
  spec.is_continuous = spec.is_continuous || request.is_continuous;
  json specification = parse_json_text(spec.specification);
  if (!specification.is_object()) specification = json::object();
  specification.update(request.settings);
  spec.specification = specification.dump();
  return spec;
}

std::variant<NodesAdded, ApiError> with_nodes_added(const ClusterSpec& current,
                                                    const request::BatchAddClusterNodes& request) {
  if (!current.is_continuous)
    return invalid(
        "BatchAddClusterNodes needs a cluster with NodeProvisioningMode Continuous. Set "
        "it with UpdateCluster, or change InstanceCount there.");
  NodesAdded added{current, {}};
  for (const auto& addition : request.additions)
    added.outcomes.push_back(judge(added.spec, addition));
  return added;
}

}  // namespace holdfast::hyperpod
