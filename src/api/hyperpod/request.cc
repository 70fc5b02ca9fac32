#include "api/hyperpod/request.h"

#include <algorithm>
#include <set>
#include <utility>

#include "api/hyperpod/deployment.h"
#include "api/hyperpod/group_request.h"
#include "api/hyperpod/timestamp.h"
#include "api/hyperpod/validate.h"
#include "model/json_text.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;
using Parsed = std::variant<Request, ApiError>;

constexpr std::string_view kTargetPrefix = "SageMaker.";
constexpr std::uint32_t kNodesToAddMax = 50;

ApiError invalid(const std::string& message) {
  return {ErrorType::kValidation, message};
}

// What AWS sells and nobody has at home: the operations whose names hold a word, and what to do
// instead.
struct Ware {
  std::string_view word;
  std::string_view instead;
};
constexpr Ware kWares[] = {
    {"TrainingPlan",
     "training plans reserve capacity of AWS, and these machines are reserved already. Set "
     "InstanceCount of a group with UpdateCluster, and spares with the tag "
     "holdfast:spares:GROUP of CreateCluster."},
    {"ClusterExtension",
     "extensions are add-ons of AWS's images. Install what the nodes need in the lifecycle script "
     "(LifeCycleConfig.OnCreate) of the instance group; UpdateClusterSoftware runs it anew."},
    {"ReservedCapacity",
     "reserved capacity and UltraServers are AWS's. ListClusterNodes shows the machines that "
     "there are."},
    {"ClusterNodeVolume",
     "there are no EBS volumes here. Mount storage in the lifecycle script "
     "(LifeCycleConfig.OnCreate) of the instance group."},
    {"ClusterNodeNetworkInterface",
     "there are no elastic network interfaces here. Configure the machine's interfaces in the "
     "lifecycle script (LifeCycleConfig.OnCreate) of the instance group."},
};

std::variant<json, ApiError> read_body(std::string_view text) {
  if (text.size() > kBodyMax)
    return ApiError{ErrorType::kSerialization, "The body has " + std::to_string(text.size()) +
                                                   " bytes; " + std::to_string(kBodyMax) +
                                                   " are the most."};
  if (nests_deeper(text, kJsonDepthMax))
    return ApiError{ErrorType::kSerialization, "The body nests deeper than any request."};
  if (text.empty()) return json::object();
  json body = parse_json_text(text);
  if (!body.is_object()) return ApiError{ErrorType::kSerialization, "The body is no JSON object."};
  return body;
}

// What the readers below are handed: valid, without unknown members and nulls.
struct Asked {
  const Operation& operation;
  const json& body;
  ClusterRef cluster;  // of those that have a ClusterName
  Page page;           // of lists
  const Site& site;
};

std::string text(const json& body, const char* member) {
  return body.value(member, "");
}

std::vector<std::string> texts(const json& body, const char* member) {
  std::vector<std::string> all;
  std::set<std::string> seen;
  for (const json& item : body.value(member, json::array()))
    if (seen.insert(item).second) all.push_back(item);
  return all;
}

std::optional<WallTime> time(const json& body, const char* member) {
  return body.contains(member) ? read_timestamp(body[member]) : std::nullopt;
}

Parsed read_create(const Asked& asked) {
  const json& body = asked.body;
  if (auto error = check_cluster_body(body)) return *error;
  std::vector<InstanceGroup> groups = read_groups(body);
  if (groups.empty()) return invalid("InstanceGroups: specify at least one instance group.");
  if (auto error = read_tags(body, groups)) return *error;
  json settings = body;
  settings.erase("InstanceGroups");
  ClusterSpec spec{.name = text(body, "ClusterName"),
                   .groups = std::move(groups),
                   .recovers_nodes = text(body, "NodeRecovery") != "None",
                   .is_continuous = body.contains("NodeProvisioningMode"),
                   .specification = settings.dump()};
  return Request(request::CreateCluster{std::move(spec)});
}

Parsed read_update(const Asked& asked) {
  const json& body = asked.body;
  if (auto error = check_cluster_body(body)) return *error;
  json settings = body;
  for (const char* member : {"ClusterName", "InstanceGroups", "InstanceGroupsToDelete"})
    settings.erase(member);
  request::UpdateCluster update{.cluster = asked.cluster,
                                .groups = read_groups(body),
                                .to_delete = texts(body, "InstanceGroupsToDelete"),
                                .is_continuous = body.contains("NodeProvisioningMode"),
                                .settings = std::move(settings)};
  if (body.contains("NodeRecovery")) update.recovers_nodes = body["NodeRecovery"] != "None";
  return Request(std::move(update));
}

Parsed read_update_software(const Asked& asked) {
  request::UpdateClusterSoftware update{.cluster = asked.cluster};
  for (const json& group : asked.body.value("InstanceGroups", json::array()))
    update.groups.push_back(text(group, "InstanceGroupName"));
  auto deployment = read_deployment(asked.body.value("DeploymentConfig", json::object()));
  if (const auto* error = std::get_if<ApiError>(&deployment)) return *error;
  update.deployment = std::get<Deployment>(std::move(deployment));
  return Request(std::move(update));
}

Parsed read_describe_node(const Asked& asked) {
  request::DescribeClusterNode describe{asked.cluster, text(asked.body, "NodeId"),
                                        text(asked.body, "NodeLogicalId")};
  if (describe.instance_id.empty() == describe.logical_id.empty())
    return invalid("Specify exactly one of NodeId and NodeLogicalId.");
  return Request(std::move(describe));
}

Parsed read_list_clusters(const Asked& asked) {
  const json& body = asked.body;
  return Request(request::ListClusters{.page = asked.page,
                                       .by_name = text(body, "SortBy") == "NAME",
                                       .after = time(body, "CreationTimeAfter"),
                                       .before = time(body, "CreationTimeBefore"),
                                       .name_contains = text(body, "NameContains"),
                                       .has_training_plan = body.contains("TrainingPlanArn")});
}

Parsed read_list_nodes(const Asked& asked) {
  const json& body = asked.body;
  return Request(
      request::ListClusterNodes{.cluster = asked.cluster,
                                .page = asked.page,
                                .after = time(body, "CreationTimeAfter"),
                                .before = time(body, "CreationTimeBefore"),
                                .group_contains = text(body, "InstanceGroupNameContains"),
                                .with_logical_ids = body.value("IncludeNodeLogicalIds", false)});
}

Parsed read_list_events(const Asked& asked) {
  const json& body = asked.body;
  return Request(request::ListClusterEvents{.cluster = asked.cluster,
                                            .page = asked.page,
                                            .after = time(body, "EventTimeAfter"),
                                            .before = time(body, "EventTimeBefore"),
                                            .group = text(body, "InstanceGroupName"),
                                            .instance_id = text(body, "NodeId"),
                                            .resource_type = text(body, "ResourceType"),
                                            .has_operation = body.contains("OperationId")});
}

Parsed read_add(const Asked& asked) {
  request::BatchAddClusterNodes add{asked.cluster, text(asked.body, "ClientToken"), {}};
  std::uint32_t total = 0;
  for (const json& item : asked.body["NodesToAdd"]) {
    add.additions.push_back({item["InstanceGroupName"], item["IncrementTargetCountBy"],
                             texts(item, "InstanceTypes"), texts(item, "AvailabilityZones")});
    total += add.additions.back().count;
  }
  if (total > kNodesToAddMax)
    return invalid("NodesToAdd: " + std::to_string(total) + " nodes are too many. Add up to " +
                   std::to_string(kNodesToAddMax) + " in one request.");
  return Request(std::move(add));
}

template <request::BatchKind kKind>
Parsed read_batch(const Asked& asked) {
  request::BatchNodes batch{kKind, asked.cluster, texts(asked.body, "NodeIds"),
                            texts(asked.body, "NodeLogicalIds")};
  if (batch.instance_ids.empty() && batch.logical_ids.empty())
    return invalid("Specify NodeIds or NodeLogicalIds, or both.");
  return Request(std::move(batch));
}

Parsed read_health_check(const Asked& asked) {
  request::StartClusterHealthCheck check{asked.cluster, {}};
  for (const json& group : asked.body["DeepHealthCheckConfigurations"]) {
    auto kinds = read_check_kinds(group["DeepHealthChecks"]);
    if (!kinds)
      return invalid("DeepHealthChecks of '" + text(group, "InstanceGroupName") +
                     "': the checks here are InstanceStress and InstanceConnectivity.");
    check.groups.push_back(
        {text(group, "InstanceGroupName"), texts(group, "InstanceIds"), *std::move(kinds)});
  }
  return Request(std::move(check));
}

Parsed read_list_operations(const Asked& asked) {
  const json& body = asked.body;
  return Request(request::ListClusterOperations{.cluster = asked.cluster,
                                                .page = asked.page,
                                                .after = time(body, "CreationTimeAfter"),
                                                .before = time(body, "CreationTimeBefore"),
                                                .status = text(body, "Status"),
                                                .type = text(body, "Type")});
}

Parsed read_describe_operation(const Asked& asked) {
  return Request(request::DescribeClusterOperation{asked.cluster, text(asked.body, "OperationId")});
}

Parsed read_move(const Asked& asked) {
  const json& body = asked.body;
  const auto named =
      body.contains("InstanceCount") + body.contains("NodeIds") + body.contains("NodeLogicalIds");
  if (named != 1)
    return invalid("Specify exactly one of InstanceCount, NodeIds and NodeLogicalIds.");
  const std::string source = body["SourceClusterArn"], target = body["TargetClusterArn"];
  if (source == target && body["SourceInstanceGroupName"] == body["TargetInstanceGroupName"])
    return invalid("TargetInstanceGroupName: it is the group that the nodes are in.");
  const auto from = read_cluster_ref(source, asked.site), to = read_cluster_ref(target, asked.site);
  if (!from || !to) return no_such_cluster(from ? target : source);
  return Request(request::MoveClusterNodes{*from, *to});
}

template <request::TagsKind kKind>
Parsed read_tags_request(const Asked& asked) {
  const std::string arn = asked.body["ResourceArn"];
  const auto owner = read_tag_owner(arn, asked.site);
  if (!owner)
    return invalid("ResourceArn '" + arn +
                   "': what has tags here are clusters, cluster-scheduler-configs and "
                   "compute-quotas of this server.");
  return Request(request::Tags{kKind, *owner, asked.body.value("Tags", json::array()),
                               texts(asked.body, "TagKeys")});
}

Parsed read_governance(const Asked& asked) {
  return Request(request::Governance{&asked.operation, asked.body, asked.page});
}

template <class Named>
Parsed read_name(const Asked& asked) {
  return Request(Named{asked.cluster});
}

Parsed read_describe_event(const Asked& asked) {
  return Request(request::DescribeClusterEvent{asked.cluster, text(asked.body, "EventId")});
}

struct Reader {
  std::string_view operation;
  Parsed (*read)(const Asked&);
};
constexpr Reader kReaders[] = {
    {"AddTags", read_tags_request<request::TagsKind::kAdd>},
    {"BatchAddClusterNodes", read_add},
    {"BatchDeleteClusterNodes", read_batch<request::BatchKind::kDelete>},
    {"BatchRebootClusterNodes", read_batch<request::BatchKind::kReboot>},
    {"BatchReplaceClusterNodes", read_batch<request::BatchKind::kReplace>},
    {"CreateCluster", read_create},
    {"DeleteCluster", read_name<request::DeleteCluster>},
    {"DeleteTags", read_tags_request<request::TagsKind::kDelete>},
    {"DescribeCluster", read_name<request::DescribeCluster>},
    {"DescribeClusterEvent", read_describe_event},
    {"DescribeClusterNode", read_describe_node},
    {"DescribeClusterOperation", read_describe_operation},
    {"ListClusterEvents", read_list_events},
    {"ListClusterNodes", read_list_nodes},
    {"ListClusterOperations", read_list_operations},
    {"ListClusters", read_list_clusters},
    {"ListTags", read_tags_request<request::TagsKind::kList>},
    {"MoveClusterNodes", read_move},
    {"StartClusterHealthCheck", read_health_check},
    {"UpdateCluster", read_update},
    {"UpdateClusterSoftware", read_update_software},
};

}  // namespace

ApiError no_such_cluster(const std::string& name_or_arn) {
  return {ErrorType::kResourceNotFound, "Could not find cluster '" + name_or_arn + "'."};
}

Parsed parse_request(std::string_view target, std::string_view body, const Site& site) {
  const Operation* operation = target.starts_with(kTargetPrefix)
                                   ? find_operation(target.substr(kTargetPrefix.size()))
                                   : nullptr;
  if (operation == nullptr)
    return ApiError{ErrorType::kUnknownOperation,
                    "There is no operation '" + std::string(target.substr(0, 128)) + "' here."};
  auto read = read_body(body);
  if (const auto* error = std::get_if<ApiError>(&read)) return *error;
  if (auto error = validate(operation->input, std::get<json>(read))) return *error;
  const json known = known_part(operation->input, std::get<json>(read));
  for (const Ware& ware : kWares) {
    if (operation->name.find(ware.word) != std::string_view::npos)
      return invalid(std::string(operation->name) + ": " + std::string(ware.instead));
  }

  Asked asked{*operation, known, {}, {}, site};
  if (known.contains("ClusterName") && operation->name != "CreateCluster") {
    const auto cluster = read_cluster_ref(known["ClusterName"], site);
    if (!cluster) return no_such_cluster(known["ClusterName"]);
    asked.cluster = *cluster;
  }
  if (operation->input.find("NextToken") != nullptr) {
    const auto page = read_page(*operation, known);
    if (!page)
      return invalid(
          "NextToken is not of this query. Take the one of the last answer to it, or "
          "leave it out to begin anew.");
    asked.page = *page;
  }
  const auto reader = std::ranges::find(kReaders, operation->name, &Reader::operation);
  return reader == std::end(kReaders) ? read_governance(asked) : reader->read(asked);
}

}  // namespace holdfast::hyperpod
