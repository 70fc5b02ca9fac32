#include "api/hyperpod/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "api/hyperpod/timestamp.h"
#include "api/hyperpod/validate.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

const Site kSite{"us-west-2", "123456789012"};
const std::string kId = "abcdefghij01";
constexpr WallTime kCreated{1'700'000'000'123'456'789};
constexpr WallTime after_creation(std::int64_t ms) {
  return {kCreated.ns + milliseconds(ms).ns};
}

// Every answer is what the service model says of it: nothing required is missing, and nothing in it
// is unknown.
json checked(const std::string& operation, const json& answer) {
  const Shape& output = *find_operation(operation)->output;
  const json sent = json::parse(render(answer).body);
  const auto error = validate(output, sent);
  if (error) {
    ADD_FAILURE() << operation << ": " << error->message;
    return sent;
  }
  EXPECT_EQ(known_part(output, sent), sent) << operation;
  return sent;
}

std::string created_body() {
  const json body = {
      {"ClusterName", "train"},
      {"InstanceGroups",
       {{{"InstanceGroupName", "workers"},
         {"InstanceCount", 4},
         {"MinInstanceCount", 2},
         {"InstanceRequirements", {{"InstanceTypes", {"ml.p5.48xlarge", "rack-7"}}}},
         {"ExecutionRole", "arn:aws:iam::123456789012:role/nodes"},
         {"ThreadsPerCore", 1},
         {"ImageId", "default"},
         {"ImageReleaseVersion", "1.2.3"},
         {"LifeCycleConfig", {{"SourceS3Uri", "s3://b/p"}, {"OnCreate", "x.sh"}}},
         {"OnStartDeepHealthChecks", {"InstanceStress"}},
         {"SlurmConfig", {{"NodeType", "Compute"}, {"PartitionNames", {"gpu"}}}},
         {"KubernetesConfig",
          {{"Labels", {{"team", "vision"}}},
           {"Taints", {{{"Key", "gpu"}, {"Value", "h100"}, {"Effect", "NoSchedule"}}}}}},
         {"CapacityRequirements", {{"Spot", json::object()}}},
         {"AutoPatchConfig",
          {{"PatchingStrategy", "WhenIdle"},
           {"PatchSchedule", {{"NextPatchDate", "2026-12-01T00:00:00Z"}}}}},
         {"NetworkInterface", {{"InterfaceType", "efa"}}},
         {"ScheduledUpdateConfig", {{"ScheduleExpression", "cron(0 3 ? * SUN *)"}}},
         {"InstanceStorageConfigs", {{{"EbsVolumeConfig", {{"VolumeSizeInGB", 500}}}}}},
         {"OverrideVpcConfig", {{"SecurityGroupIds", {"sg-1"}}, {"Subnets", {"subnet-1"}}}}}}},
      {"VpcConfig", {{"SecurityGroupIds", {"sg-1"}}, {"Subnets", {"subnet-1"}}}},
      {"Tags", {{{"Key", "team"}, {"Value", "vision"}}}},
      {"Orchestrator", {{"Slurm", {{"SlurmConfigStrategy", "Managed"}}}}},
      {"TieredStorageConfig", {{"Mode", "Enable"}, {"InstanceMemoryAllocationPercentage", 20}}},
      {"AutoScaling", {{"Mode", "Disable"}}},
      {"NodeProvisioningMode", "Continuous"}};
  return body.dump();
}

ClusterView view() {
  const auto request = parse_request("SageMaker.CreateCluster", created_body(), kSite);
  if (const auto* error = std::get_if<ApiError>(&request)) {
    ADD_FAILURE() << error->message;
    return {};
  }
  const ClusterSpec& spec = std::get<request::CreateCluster>(std::get<Request>(request)).spec;
  return {.name = spec.name,
          .arn = cluster_arn(kSite, kId),
          .status = ClusterStatus::kCreating,
          .created = kCreated,
          .is_continuous = spec.is_continuous,
          .specification = spec.specification,
          .groups = {{spec.groups[0], 3, GroupStatus::kCreating, {}, {}}}};
}

NodeView node_view(std::uint32_t number) {
  return {.group = "workers",
          .instance_id = instance_id(kId, NodeId{number}),
          .logical_id = logical_id({"workers", number}),
          .instance_type = "ml.p5.48xlarge",
          .launched = after_creation(number),
          .address = "10.0.0.7",
          .group_specification = view().groups[0].group.specification};
}

TEST(HyperPodAnswer, DescribesAClusterAsItWasAskedFor) {
  const json answer = checked("DescribeCluster", answer_describe_cluster(view()));
  EXPECT_EQ(answer["ClusterArn"], "arn:aws:sagemaker:us-west-2:123456789012:cluster/" + kId);
  EXPECT_EQ(answer["ClusterStatus"], "Creating");
  EXPECT_EQ(answer["CreationTime"].dump(), "1700000000.123");
  EXPECT_EQ(answer["NodeRecovery"], "Automatic");
  EXPECT_EQ(answer["VpcConfig"]["Subnets"], json::array({"subnet-1"}));
  EXPECT_FALSE(answer.contains("Tags"));
  const json& group = answer["InstanceGroups"][0];
  EXPECT_EQ(group["CurrentCount"], 3);
  EXPECT_EQ(group["TargetCount"], 4);
  EXPECT_EQ(group["MinCount"], 2);
  EXPECT_EQ(group["InstanceRequirements"]["DesiredInstanceTypes"],
            json::array({"ml.p5.48xlarge", "rack-7"}));
  EXPECT_EQ(group["KubernetesConfig"]["DesiredLabels"], json({{"team", "vision"}}));
  EXPECT_EQ(group["AutoPatchConfig"]["DesiredPatchSchedule"]["NextPatchDate"], 1796083200.0);
  EXPECT_EQ(group["DesiredImageId"], "default");
  EXPECT_EQ(group["OnStartDeepHealthChecks"], json::array({"InstanceStress"}));
  EXPECT_EQ(group["SlurmConfig"]["NodeType"], "Compute");
}

TEST(HyperPodAnswer, DescribesAClusterThatNobodySpecified) {
  ClusterView plain{.name = "default", .arn = cluster_arn(kSite, kId), .recovers_nodes = false};
  plain.failure_message = "\xff no machine";
  plain.groups = {{{.name = "nodes", .count = 2}, 0, GroupStatus::kFailed, {}, {}}};
  const json answer = checked("DescribeCluster", answer_describe_cluster(plain));
  EXPECT_EQ(answer["NodeRecovery"], "None");
  EXPECT_FALSE(answer.contains("NodeProvisioningMode"));
}

TEST(HyperPodAnswer, ShowsAnUpdateOfTheSoftware) {
  ClusterView cluster = view();
  cluster.groups[0].update = UpdateStatus::kRollbackInProgress;
  cluster.groups[0].update_config = Deployment{.batch = {.nodes = 2}, .alarms = {"job.failed"}};
  const json answer = checked("DescribeCluster", answer_describe_cluster(cluster));
  const json& group = answer["InstanceGroups"][0];
  EXPECT_EQ(group["SoftwareUpdateStatus"], "RollbackInProgress");
  const json& active = group["ActiveSoftwareUpdateConfig"];
  EXPECT_EQ(active["RollingUpdatePolicy"]["MaximumBatchSize"]["Value"], 2);
  EXPECT_EQ(active["AutoRollbackConfiguration"][0]["AlarmName"], "job.failed");
  EXPECT_EQ(group["ScheduledUpdateConfig"]["ScheduleExpression"], "cron(0 3 ? * SUN *)");
}

TEST(HyperPodAnswer, DescribesNodes) {
  const json answer = checked("DescribeClusterNode", answer_describe_node(node_view(3)));
  const json& node = answer["NodeDetails"];
  EXPECT_EQ(node["InstanceId"], instance_id(kId, NodeId{3}));
  EXPECT_EQ(node["NodeLogicalId"], "workers-3");
  EXPECT_EQ(node["PrivatePrimaryIp"], "10.0.0.7");
  EXPECT_EQ(node["PrivateDnsHostname"], "ip-10-0-0-7.holdfast.internal");
  EXPECT_EQ(node["ThreadsPerCore"], 1);
  EXPECT_EQ(node["InstanceStatus"], json({{"Status", "Running"}}));

  NodeView spare{.group = "workers", .instance_id = instance_id(kId, NodeId{4})};
  spare.status = InstanceStatus::kDeepHealthCheckInProgress;
  spare.message = "InstanceStress";
  spare.address = "fe80::1";
  checked("DescribeClusterNode", answer_describe_node(spare));
}

// `count` nodes with every third one in another group; counts the views that are made.
struct Nodes {
  std::uint32_t count = 0;
  bool descending = false;
  std::uint32_t views = 0;

  NodeWalk walk() {
    return {[this](NodeId after) -> std::optional<NodeKey> {
              const std::uint32_t number = !descending        ? after.value + 1
                                           : after.value == 0 ? count
                                                              : after.value - 1;
              if (number == 0 || number > count) return std::nullopt;
              return NodeKey{NodeId{number}, number % 3 == 0 ? "login" : "workers",
                             after_creation(number)};
            },
            [this](NodeId node) {
              ++views;
              NodeView view = node_view(node.value);
              view.group = node.value % 3 == 0 ? "login" : "workers";
              return view;
            }};
  }
};

// The ids of each page of a list.
template <class Query, class Answer>
std::vector<std::vector<std::string>> pages(const std::string& operation, json body,
                                            const char* items, const char* id, Answer answer) {
  std::vector<std::vector<std::string>> all;
  for (bool more = true; more;) {
    const auto request = parse_request("SageMaker." + operation, body.dump(), kSite);
    const auto* query = std::get_if<Request>(&request);
    if (query == nullptr) {
      ADD_FAILURE() << std::get<ApiError>(request).message;
      break;
    }
    const json page = checked(operation, answer(std::get<Query>(*query)));
    all.emplace_back();
    for (const json& item : page[items]) all.back().push_back(item[id]);
    more = page.contains("NextToken");
    if (more) body["NextToken"] = page["NextToken"];
  }
  return all;
}

TEST(HyperPodAnswer, ListsNodesAPageAtATime) {
  for (const bool descending : {false, true}) {
    Nodes nodes{.count = 25, .descending = descending};
    const auto listed = pages<request::ListClusterNodes>(
        "ListClusterNodes",
        {{"ClusterName", "train"},
         {"MaxResults", 5},
         {"InstanceGroupNameContains", "orker"},
         {"SortOrder", descending ? "Descending" : "Ascending"}},
        "ClusterNodeSummaries", "InstanceId",
        [&](const auto& query) { return json::parse(answer_list_nodes(query, nodes.walk())); });
    ASSERT_EQ(listed.size(), 4U);  // 17 nodes
    EXPECT_EQ(listed.back().size(), 2U);
    EXPECT_EQ(listed.front().front(), instance_id(kId, NodeId{descending ? 25U : 1U}));
    EXPECT_EQ(listed.back().back(), instance_id(kId, NodeId{descending ? 1U : 25U}));
    EXPECT_EQ(nodes.views, 17U);
  }
}

TEST(HyperPodAnswer, MakesViewsOfShownNodesOnly) {
  Nodes nodes{.count = 10'000};
  request::ListClusterNodes query;
  query.with_logical_ids = true;
  const json answer =
      checked("ListClusterNodes", json::parse(answer_list_nodes(query, nodes.walk())));
  EXPECT_EQ(answer["ClusterNodeSummaries"].size(), 100U);
  EXPECT_EQ(answer["ClusterNodeSummaries"][0]["NodeLogicalId"], "workers-1");
  EXPECT_EQ(nodes.views, 100U);
  query.after = after_creation(9'998);
  query.before = after_creation(10'000);
  EXPECT_EQ(json::parse(answer_list_nodes(query, nodes.walk()))["ClusterNodeSummaries"].size(), 1U);
}

TEST(HyperPodAnswer, ListsClustersInOrder) {
  std::vector<ClusterView> clusters;
  for (const auto& [name, age] : {std::pair("b", 1), std::pair("c", 3), std::pair("a", 2)}) {
    clusters.push_back(view());
    clusters.back().name = name;
    clusters.back().created = after_creation(-60'000 * age);
  }
  const auto names = [&](json body) {
    body["MaxResults"] = 2;
    std::vector<std::string> all;
    for (const auto& page : pages<request::ListClusters>(
             "ListClusters", body, "ClusterSummaries", "ClusterName",
             [&](const auto& query) { return answer_list_clusters(query, clusters); }))
      all.insert(all.end(), page.begin(), page.end());
    return all;
  };
  EXPECT_THAT(names(json::object()), ElementsAre("c", "a", "b"));
  EXPECT_THAT(names({{"SortBy", "NAME"}}), ElementsAre("a", "b", "c"));
  EXPECT_THAT(names({{"SortBy", "NAME"}, {"SortOrder", "Descending"}}), ElementsAre("c", "b", "a"));
  EXPECT_THAT(names({{"NameContains", "b"}}), ElementsAre("b"));
  EXPECT_THAT(names({{"CreationTimeAfter", write_timestamp(clusters[1].created)}}),
              ElementsAre("a", "b"));
  const std::string plan = "arn:aws:sagemaker:us-west-2:123456789012:training-plan/mine";
  EXPECT_THAT(names({{"TrainingPlanArn", plan}}), ElementsAre());
}

TEST(HyperPodAnswer, ListsAnyTextOfANode) {
  NodeView odd{.group = "workers",
               .instance_id = instance_id(kId, NodeId{1}),
               .status = InstanceStatus::kFailure,
               .message = "\"x\\\n\xff\u00e9",
               .launched = kCreated,
               .address = "10.0.0.7"};
  const NodeWalk walk{.next = [](NodeId after) -> std::optional<NodeKey> {
                        if (after) return std::nullopt;
                        return NodeKey{NodeId{1}, "workers", kCreated};
                      },
                      .view = [&](NodeId) { return odd; }};
  const std::string text =
      answer_list_nodes({.page = {.size = 100}, .with_logical_ids = true}, walk);
  const json answer = checked("ListClusterNodes", json::parse(text));
  EXPECT_FALSE(answer.contains("NextToken"));
  const json& summary = answer["ClusterNodeSummaries"][0];
  EXPECT_EQ(summary["InstanceStatus"]["Message"], "\"x\\\n\xEF\xBF\xBD\u00e9");
  EXPECT_EQ(summary["InstanceType"], "unknown");
  EXPECT_EQ(summary["PrivateDnsHostname"], "ip-10-0-0-7.holdfast.internal");
  EXPECT_EQ(summary["LaunchTime"], write_timestamp(kCreated));
  EXPECT_FALSE(summary.contains("NodeLogicalId"));
}

TEST(HyperPodAnswer, ListsOperationsNewestFirst) {
  const std::string arn = cluster_arn(kSite, kId);
  std::vector<OperationView> operations;
  for (const auto& [sequence, type, status] :
       {std::tuple(1u, OperationType::kScaling, OperationStatus::kSuperseded),
        std::tuple(2u, OperationType::kDeepHealthCheck, OperationStatus::kDone),
        std::tuple(3u, OperationType::kScaling, OperationStatus::kInProgress)})
    operations.push_back({.id = event_id(kId, sequence),
                          .type = type,
                          .status = status,
                          .created = after_creation(sequence)});
  const auto ids = [&](json body) {
    body["ClusterName"] = "train";
    body["MaxResults"] = 2;
    std::vector<std::string> all;
    for (const auto& page : pages<request::ListClusterOperations>(
             "ListClusterOperations", body, "ClusterOperationSummaries", "OperationId",
             [&](const auto& query) { return answer_list_operations(query, arn, operations); }))
      all.insert(all.end(), page.begin(), page.end());
    return all;
  };
  const std::string first = operations[0].id, second = operations[1].id, third = operations[2].id;
  EXPECT_THAT(ids(json::object()), ElementsAre(third, second, first));
  EXPECT_THAT(ids({{"SortOrder", "Ascending"}}), ElementsAre(first, second, third));
  EXPECT_THAT(ids({{"Type", "Scaling"}}), ElementsAre(third, first));
  EXPECT_THAT(ids({{"Status", "Done"}}), ElementsAre(second));
  EXPECT_THAT(ids({{"CreationTimeAfter", write_timestamp(operations[1].created)}}),
              ElementsAre(third));

  operations[2].wanted = {{.name = "workers", .count = 4, .count_min = 2}};
  const json scaling =
      checked("DescribeClusterOperation", answer_describe_operation(arn, operations[2]));
  EXPECT_EQ(scaling["ScalingDetails"][0]["Desired"], json({{"TargetCount", 4}, {"MinCount", 2}}));
  operations[1].checked = {
      {"workers", {instance_id(kId, NodeId{1})}, {CheckKind::kInstanceStress}}};
  const json checks =
      checked("DescribeClusterOperation", answer_describe_operation(arn, operations[1]));
  EXPECT_EQ(checks["DeepHealthCheckDetails"][0]["DeepHealthChecks"], json({"InstanceStress"}));
}

EventView event_view(std::uint64_t sequence) {
  return {.sequence = sequence,
          .id = event_id(kId, sequence),
          .time = after_creation(static_cast<std::int64_t>(sequence)),
          .resource = sequence % 2 == 0 ? EventResource::kInstance : EventResource::kCluster,
          .level = EventLevel::kWarn,
          .group = sequence % 2 == 0 ? "workers" : "",
          .instance_id = sequence % 2 == 0 ? instance_id(kId, NodeId{1}) : "",
          .logical_id = sequence % 2 == 0 ? "workers-1" : "",
          .description = "the node was lost",
          .failure_message = "no heartbeat"};
}

TEST(HyperPodAnswer, ListsEventsNewestFirst) {
  const auto listed = pages<request::ListClusterEvents>(
      "ListClusterEvents",
      {{"ClusterName", "train"}, {"MaxResults", 3}, {"InstanceGroupName", "workers"}}, "Events",
      "EventId", [&](const auto& query) {
        return answer_list_events(query, view(),
                                  [](std::uint64_t after) -> std::optional<EventView> {
                                    const std::uint64_t next = after == 0 ? 10 : after - 1;
                                    if (next == 0) return std::nullopt;
                                    return event_view(next);
                                  });
      });
  EXPECT_THAT(listed,
              ElementsAre(ElementsAre(event_id(kId, 10), event_id(kId, 8), event_id(kId, 6)),
                          ElementsAre(event_id(kId, 4), event_id(kId, 2))));
}

TEST(HyperPodAnswer, DescribesEvents) {
  const json answer = checked("DescribeClusterEvent", answer_describe_event(view(), event_view(2)));
  EXPECT_EQ(
      answer["EventDetails"]["EventDetails"]["EventMetadata"],
      json({{"Instance", {{"FailureMessage", "no heartbeat"}, {"NodeLogicalId", "workers-1"}}}}));
  checked("DescribeClusterEvent", answer_describe_event(view(), event_view(1)));
  EventView group = event_view(1);
  group.resource = EventResource::kInstanceGroup;
  group.failure_message = "";
  checked("DescribeClusterEvent", answer_describe_event(view(), group));
}

TEST(HyperPodAnswer, TellsTheFateOfEachNodeOfABatch) {
  const std::vector<NodeOutcome> outcomes = {
      {instance_id(kId, NodeId{1}), false, std::nullopt, ""},
      {instance_id(kId, NodeId{2}), false, NodeRefusal::kNotFound, "no such node"},
      {instance_id(kId, NodeId{3}), false, NodeRefusal::kWrongStatus, "it is being replaced"},
      {instance_id(kId, NodeId{4}), false, NodeRefusal::kInUse, "job j1 runs on it"},
      {instance_id(kId, NodeId{5}), false, NodeRefusal::kFailed, "the provider is away"},
      {"workers-1", true, std::nullopt, ""},
      {"workers-2", true, NodeRefusal::kNotFound, "no such node"}};
  const std::pair<request::BatchKind, std::string> kinds[] = {
      {request::BatchKind::kDelete, "BatchDeleteClusterNodes"},
      {request::BatchKind::kReboot, "BatchRebootClusterNodes"},
      {request::BatchKind::kReplace, "BatchReplaceClusterNodes"}};
  for (const auto& [kind, operation] : kinds) {
    const json answer = checked(operation, answer_batch(kind, outcomes));
    EXPECT_EQ(answer["Successful"], json::array({instance_id(kId, NodeId{1})}));
    EXPECT_EQ(answer["Failed"].size(), 4U);
    EXPECT_EQ(answer["SuccessfulNodeLogicalIds"], json::array({"workers-1"}));
    EXPECT_EQ(answer["FailedNodeLogicalIds"][0]["NodeLogicalId"], "workers-2");
    EXPECT_EQ(checked(operation, answer_batch(kind, {})), json::object());
  }
}

TEST(HyperPodAnswer, TellsTheFateOfAddedNodes) {
  NodeView node = node_view(9);
  node.status = InstanceStatus::kPending;
  const json answer = checked("BatchAddClusterNodes",
                              answer_batch_add({node}, {{{"workers", 1, {}, {}}, "", ""},
                                                        {{"none", 2, {"rack-7"}, {"us-west-2a"}},
                                                         "InstanceGroupNotFound",
                                                         "There is no instance group 'none'."}}));
  EXPECT_EQ(answer["Successful"][0], json({{"NodeLogicalId", "workers-9"},
                                           {"InstanceGroupName", "workers"},
                                           {"Status", "Pending"}}));
  EXPECT_EQ(answer["Failed"].size(), 1U);
  EXPECT_EQ(answer["Failed"][0]["FailedCount"], 2);
}

TEST(HyperPodAnswer, AnswersWithAnArn) {
  for (const char* operation : {"CreateCluster", "UpdateCluster", "UpdateClusterSoftware",
                                "DeleteCluster", "StartClusterHealthCheck"})
    checked(operation, answer_arn(cluster_arn(kSite, kId)));
}

template <class E>
void has_words_of(const char* shape) {
  for (const std::string_view word : kWords<E>)
    EXPECT_FALSE(validate(*find_shape(shape), std::string(word))) << shape << " " << word;
}
TEST(HyperPodAnswer, UsesTheWordsOfTheModel) {
  has_words_of<ClusterStatus>("ClusterStatus");
  has_words_of<GroupStatus>("InstanceGroupStatus");
  has_words_of<InstanceStatus>("ClusterInstanceStatus");
  has_words_of<EventResource>("ClusterEventResourceType");
  has_words_of<EventLevel>("ClusterEventLevel");
}

}  // namespace
}  // namespace holdfast::hyperpod
