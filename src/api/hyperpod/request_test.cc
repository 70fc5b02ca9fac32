#include "api/hyperpod/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/hyperpod/group_request.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Site kSite{"us-west-2", "123456789012"};
constexpr const char* kArn = "arn:aws:sagemaker:us-west-2:123456789012:cluster/abcdefghij01";
constexpr const char* kRole = "arn:aws:iam::123456789012:role/nodes";

std::variant<Request, ApiError> parse(const std::string& operation, const json& body) {
  return parse_request("SageMaker." + operation, body.dump(), kSite);
}

template <class T>
T parsed(const std::string& operation, const json& body) {
  auto request = parse(operation, body);
  if (const auto* error = std::get_if<ApiError>(&request)) {
    ADD_FAILURE() << error->message;
    return {};
  }
  return std::get<T>(std::get<Request>(request));
}

ApiError refused(const std::string& operation, const json& body) {
  auto request = parse(operation, body);
  if (const auto* error = std::get_if<ApiError>(&request)) return *error;
  ADD_FAILURE() << operation << " takes " << body.dump();
  return {ErrorType::kInternalFailure, ""};
}

json group(const std::string& name = "workers") {
  return {{"InstanceGroupName", name},
          {"InstanceCount", 4},
          {"InstanceType", "ml.p5.48xlarge"},
          {"ExecutionRole", kRole},
          {"LifeCycleConfig",
           {{"SourceS3Uri", "s3://sagemaker-lifecycle/base"}, {"OnCreate", "on_create.sh"}}}};
}
json create() {
  return {{"ClusterName", "train"}, {"InstanceGroups", {group()}}};
}
json create_with(const std::string& member, const json& value) {
  json body = create();
  body["InstanceGroups"][0][member] = value;
  return body;
}

TEST(HyperPodRequest, ReadsCreateCluster) {
  json body = create();
  json flexible = group("spot");
  flexible.erase("InstanceType");
  flexible["InstanceRequirements"] = {{"InstanceTypes", {"ml.p5.48xlarge", "rack-7"}}};
  flexible["MinInstanceCount"] = 2;
  flexible["OnStartDeepHealthChecks"] = {"InstanceConnectivity", "InstanceStress",
                                         "InstanceConnectivity"};
  body["InstanceGroups"].push_back(flexible);
  body["NodeRecovery"] = "None";
  body["NodeProvisioningMode"] = "Continuous";
  body["VpcConfig"] = {{"SecurityGroupIds", {"sg-1"}}, {"Subnets", {"subnet-1"}}};
  body["Tags"] = {{{"Key", "team"}, {"Value", "vision"}},
                  {{"Key", "holdfast:spares:spot"}, {"Value", "3"}}};
  const ClusterSpec spec = parsed<request::CreateCluster>("CreateCluster", body).spec;
  EXPECT_EQ(spec.name, "train");
  EXPECT_FALSE(spec.recovers_nodes);
  EXPECT_TRUE(spec.is_continuous);
  EXPECT_EQ(spec.nodes(), 8U);
  EXPECT_EQ(spec.spares(), 3U);
  ASSERT_EQ(spec.groups.size(), 2U);
  EXPECT_EQ(spec.groups[0].lifecycle,
            (LifecycleScripts{"s3://sagemaker-lifecycle/base", "on_create.sh", ""}));
  EXPECT_EQ(spec.groups[0].spares, 0U);
  EXPECT_EQ(spec.groups[1].count_min, 2U);
  EXPECT_EQ(spec.groups[1].spares, 3U);
  EXPECT_THAT(spec.groups[1].instance_types, ElementsAre("ml.p5.48xlarge", "rack-7"));
  EXPECT_THAT(spec.groups[1].checks_on_start,
              ElementsAre(CheckKind::kInstanceConnectivity, CheckKind::kInstanceStress));
  EXPECT_EQ(json::parse(spec.groups[1].specification), flexible);
  const json settings = json::parse(spec.specification);
  EXPECT_EQ(settings["VpcConfig"], body["VpcConfig"]);
  EXPECT_FALSE(settings.contains("InstanceGroups"));
}

TEST(HyperPodRequest, RefusesWhatNoClusterCanBe) {
  json twice = create();
  twice["InstanceGroups"].push_back(group());
  json neither = create();
  neither["InstanceGroups"][0].erase("InstanceType");
  json no_source = create();
  no_source["InstanceGroups"][0]["LifeCycleConfig"].erase("SourceS3Uri");
  json both = create();
  both["Orchestrator"] = {
      {"Slurm", json::object()},
      {"Eks", {{"ClusterArn", "arn:aws:eks:us-west-2:123456789012:cluster/x"}}}};
  const std::string plan = "arn:aws:sagemaker:us-west-2:123456789012:training-plan/mine";
  const std::pair<json, std::string> cases[] = {
      {twice, "'workers' is there twice"},
      {neither, "exactly one of InstanceType and InstanceRequirements"},
      {create_with("InstanceRequirements", {{"InstanceTypes", {"a"}}}), "exactly one of"},
      {create_with("MinInstanceCount", 5), "MinInstanceCount 5 is more than InstanceCount 4"},
      {create_with("TrainingPlanArn", plan), "TrainingPlanArn"},
      {create_with("OnStartDeepHealthChecks", {"MultiNodeTrainingValidation"}), "InstanceStress"},
      {create_with("LifeCycleConfig", {{"SourceS3Uri", "s3://b/p"}, {"OnCreate", "a/../../x"}}),
       "not below SourceS3Uri"},
      {create_with("LifeCycleConfig", {{"SourceS3Uri", "s3://b/p"}, {"OnCreate", "/bin/sh"}}),
       "not below SourceS3Uri"},
      {no_source, "no SourceS3Uri"},
      {both, "exactly one of Eks and Slurm"},
      {{{"ClusterName", "train"}}, "at least one instance group"},
  };
  for (const auto& [body, message] : cases) {
    const ApiError error = refused("CreateCluster", body);
    EXPECT_EQ(error.type, ErrorType::kValidation);
    EXPECT_THAT(error.message, HasSubstr(message));
  }
}

TEST(HyperPodRequest, RefusesWrongTags) {
  for (const auto& [key, value, message] :
       {std::tuple("holdfast:spares:none", "1", "no such instance group"),
        std::tuple("holdfast:spares:workers", "", "'' is not allowed"),
        std::tuple("holdfast:spares:workers", "-1", "'-1' is not allowed"),
        std::tuple("holdfast:spares:workers", "2x", "'2x' is not allowed"),
        std::tuple("holdfast:spares:workers", "6759", "'6759' is not allowed")}) {
    json body = create();
    body["Tags"] = {{{"Key", key}, {"Value", value}}};
    EXPECT_THAT(refused("CreateCluster", body).message, HasSubstr(message));
  }
  json body = create();
  body["Tags"] = {{{"Key", "a"}, {"Value", "1"}}, {{"Key", "a"}, {"Value", "2"}}};
  EXPECT_THAT(refused("CreateCluster", body).message, HasSubstr("'a' is there twice"));
}

TEST(HyperPodRequest, RefusesWhatIsNoRequest) {
  const auto type = [](const std::string& target, const std::string& body) {
    auto request = parse_request(target, body, kSite);
    return word_of(std::get<ApiError>(request).type);
  };
  EXPECT_EQ(type("SageMaker.CreateTrainingJob", "{}"), "UnknownOperationException");
  EXPECT_EQ(type("CreateCluster", "{}"), "UnknownOperationException");
  EXPECT_EQ(type("", ""), "UnknownOperationException");
  EXPECT_EQ(type("SageMaker.ListClusters", "{"), "SerializationException");
  EXPECT_EQ(type("SageMaker.ListClusters", "[]"), "SerializationException");
  EXPECT_EQ(type("SageMaker.ListClusters", "{\"x\":\"\xff\"}"), "SerializationException");
  EXPECT_EQ(type("SageMaker.ListClusters", std::string(kBodyMax + 1, ' ')),
            "SerializationException");
  EXPECT_EQ(type("SageMaker.ListClusters", "{\"x\":" + std::string(100'000, '[')),
            "SerializationException");
  EXPECT_EQ(type("SageMaker.DescribeCluster", "{}"), "ValidationException");
}

TEST(HyperPodRequest, FindsClustersByNameAndArn) {
  EXPECT_EQ(parsed<request::DescribeCluster>("DescribeCluster", {{"ClusterName", kArn}}).cluster,
            (ClusterRef{"", "abcdefghij01"}));
  EXPECT_EQ(parsed<request::DeleteCluster>("DeleteCluster", {{"ClusterName", "train"}}).cluster,
            (ClusterRef{"train", ""}));
  const std::string other = "arn:aws:sagemaker:us-east-1:123456789012:cluster/abcdefghij01";
  EXPECT_EQ(refused("DescribeCluster", {{"ClusterName", other}}),
            (ApiError{ErrorType::kResourceNotFound, "Could not find cluster '" + other + "'."}));
}

TEST(HyperPodRequest, SaysWhatToUseInsteadOfWhatAwsSells) {
  const std::string plan = "arn:aws:sagemaker:us-west-2:123456789012:training-plan/mine";
  const std::string capacity = "arn:aws:sagemaker:us-west-2:123456789012:reserved-capacity/mine";
  const json node = {{"ClusterArn", kArn},
                     {"ClusterName", "train"},
                     {"NodeId", "i-0123456789abcdef0"},
                     {"VolumeId", "vol-0123456789abcdef0"},
                     {"NetworkInterfaceId", "eni-0123456789abcdef0"}};
  const std::tuple<std::string, json, std::string> cases[] = {
      {"ListTrainingPlans", json::object(), "InstanceCount"},
      {"SearchTrainingPlanOfferings",
       {{"InstanceType", "ml.p5.48xlarge"}, {"DurationHours", 24}},
       "InstanceCount"},
      {"CreateTrainingPlan",
       {{"TrainingPlanName", "p"}, {"TrainingPlanOfferingId", "o"}},
       "InstanceCount"},
      {"DescribeTrainingPlan", {{"TrainingPlanName", "p"}}, "InstanceCount"},
      {"DescribeTrainingPlanExtensionHistory", {{"TrainingPlanArn", plan}}, "InstanceCount"},
      {"ExtendTrainingPlan", {{"TrainingPlanExtensionOfferingId", "o"}}, "InstanceCount"},
      {"DescribeReservedCapacity", {{"ReservedCapacityArn", capacity}}, "ListClusterNodes"},
      {"ListUltraServersByReservedCapacity",
       {{"ReservedCapacityArn", capacity}},
       "ListClusterNodes"},
      {"AttachClusterNodeVolume", node, "lifecycle script"},
      {"DetachClusterNodeVolume", node, "lifecycle script"},
      {"AttachClusterNodeNetworkInterface", node, "lifecycle script"},
      {"CreateClusterExtension",
       {{"ClusterArn", kArn}, {"ExtensionName", "a"}},
       "lifecycle script"},
      {"ListClusterExtensions", {{"ClusterArn", kArn}}, "lifecycle script"},
      {"ListClusterExtensionVersions", {{"ExtensionName", "a"}}, "lifecycle script"},
  };
  for (const auto& [operation, body, instead] : cases) {
    const ApiError error = refused(operation, body);
    EXPECT_EQ(error.type, ErrorType::kValidation);
    EXPECT_THAT(error.message, HasSubstr(operation + ": "));
    EXPECT_THAT(error.message, HasSubstr(instead));
  }
}

TEST(HyperPodRequest, ReadsMoves) {
  json body = {{"SourceClusterArn", kArn},
               {"SourceInstanceGroupName", "a"},
               {"TargetClusterArn", kArn},
               {"TargetInstanceGroupName", "b"}};
  EXPECT_THAT(refused("MoveClusterNodes", body).message, HasSubstr("exactly one of"));
  body["InstanceCount"] = 1;
  EXPECT_EQ(parsed<request::MoveClusterNodes>("MoveClusterNodes", body).to.id, "abcdefghij01");
  body["NodeIds"] = {"i-0123456789abcdef0"};
  EXPECT_THAT(refused("MoveClusterNodes", body).message, HasSubstr("exactly one of"));
  body.erase("NodeIds");
  body["TargetInstanceGroupName"] = "a";
  EXPECT_THAT(refused("MoveClusterNodes", body).message, HasSubstr("TargetInstanceGroupName"));
  body["TargetInstanceGroupName"] = "b";
  body["TargetClusterArn"] = "arn:aws:sagemaker:us-east-1:123456789012:cluster/abcdefghij01";
  EXPECT_EQ(refused("MoveClusterNodes", body).type, ErrorType::kResourceNotFound);
}

TEST(HyperPodRequest, ReadsTags) {
  const auto added = parsed<request::Tags>(
      "AddTags", {{"ResourceArn", kArn}, {"Tags", {{{"Key", "team"}, {"Value", "a"}}}}});
  EXPECT_EQ(added.kind, request::TagsKind::kAdd);
  EXPECT_EQ(added.owner, (TagOwner{"cluster", "abcdefghij01"}));
  EXPECT_EQ(added.tags.size(), 1u);
  EXPECT_THAT(
      parsed<request::Tags>("DeleteTags", {{"ResourceArn", kArn}, {"TagKeys", {"team"}}}).keys,
      ElementsAre("team"));
  EXPECT_EQ(parsed<request::Tags>("ListTags", {{"ResourceArn", kArn}}).kind,
            request::TagsKind::kList);
  const std::string job = "arn:aws:sagemaker:us-west-2:123456789012:training-job/x";
  EXPECT_THAT(refused("ListTags", {{"ResourceArn", job}}).message, HasSubstr("ResourceArn"));
}

TEST(HyperPodRequest, ReadsBatches) {
  const auto batch = parsed<request::BatchNodes>(
      "BatchReplaceClusterNodes",
      {{"ClusterName", "train"},
       {"NodeIds", {"i-0123456789abcdef0", "i-0123456789abcdef1", "i-0123456789abcdef0"}},
       {"NodeLogicalIds", {"workers-1"}}});
  EXPECT_EQ(batch.kind, request::BatchKind::kReplace);
  EXPECT_THAT(batch.instance_ids, ElementsAre("i-0123456789abcdef0", "i-0123456789abcdef1"));
  EXPECT_THAT(batch.logical_ids, ElementsAre("workers-1"));
  EXPECT_THAT(refused("BatchRebootClusterNodes", {{"ClusterName", "train"}}).message,
              HasSubstr("NodeIds or NodeLogicalIds"));
  const json many = json::array_t(26, "i-0123456789abcdef0");
  EXPECT_THAT(refused("BatchRebootClusterNodes", {{"ClusterName", "c"}, {"NodeIds", many}}).message,
              HasSubstr("'nodeIds' failed to satisfy constraint: Member must have length less"));
  parsed<request::BatchNodes>("BatchDeleteClusterNodes", {{"ClusterName", "c"}, {"NodeIds", many}});

  const json nodes = {{{"InstanceGroupName", "a"}, {"IncrementTargetCountBy", 30}},
                      {{"InstanceGroupName", "b"}, {"IncrementTargetCountBy", 21}}};
  EXPECT_THAT(
      refused("BatchAddClusterNodes", {{"ClusterName", "c"}, {"NodesToAdd", nodes}}).message,
      HasSubstr("51 nodes are too many"));
}

TEST(HyperPodRequest, ReadsNodesAndChecks) {
  EXPECT_EQ(parsed<request::DescribeClusterNode>(
                "DescribeClusterNode", {{"ClusterName", "c"}, {"NodeLogicalId", "workers-1"}})
                .logical_id,
            "workers-1");
  EXPECT_THAT(refused("DescribeClusterNode", {{"ClusterName", "c"}}).message,
              HasSubstr("exactly one"));
  EXPECT_THAT(refused("DescribeClusterNode", {{"ClusterName", "c"},
                                              {"NodeId", "i-0123456789abcdef0"},
                                              {"NodeLogicalId", "workers-1"}})
                  .message,
              HasSubstr("exactly one"));
  const auto check = parsed<request::StartClusterHealthCheck>(
      "StartClusterHealthCheck",
      {{"ClusterName", "c"},
       {"DeepHealthCheckConfigurations",
        {{{"InstanceGroupName", "workers"}, {"DeepHealthChecks", {"InstanceStress"}}}}}});
  ASSERT_EQ(check.groups.size(), 1U);
  EXPECT_TRUE(check.groups[0].instance_ids.empty());
  EXPECT_THAT(check.groups[0].kinds, ElementsAre(CheckKind::kInstanceStress));
}

TEST(HyperPodRequest, ReadsSoftwareUpdates) {
  const auto deployment = [](const std::string& type, int value) -> json {
    return {
        {"ClusterName", "c"},
        {"DeploymentConfig",
         {{"WaitIntervalInSeconds", 60},
          {"RollingUpdatePolicy", {{"MaximumBatchSize", {{"Type", type}, {"Value", value}}}}}}}};
  };
  const auto update = parsed<request::UpdateClusterSoftware>("UpdateClusterSoftware",
                                                             deployment("INSTANCE_COUNT", 300));
  EXPECT_EQ(update.deployment.batch, BatchSize{.nodes = 300});
  EXPECT_EQ(update.deployment.rollback_batch, BatchSize{});
  EXPECT_EQ(update.deployment.wait, seconds(60));
  EXPECT_EQ(parsed<request::UpdateClusterSoftware>("UpdateClusterSoftware",
                                                   deployment("CAPACITY_PERCENTAGE", 50))
                .deployment.batch,
            BatchSize{.percent = 50});
  EXPECT_THAT(refused("UpdateClusterSoftware", deployment("CAPACITY_PERCENTAGE", 101)).message,
              HasSubstr("101 is not allowed"));
}

TEST(HyperPodRequest, ReadsSchedulesOfUpdates) {
  const json schedule = {
      {"ScheduleExpression", "cron(0 3 ? * SUN *)"},
      {"DeploymentConfig", {{"AutoRollbackConfiguration", {{{"AlarmName", "job.failed"}}}}}}};
  const auto request = parsed<request::CreateCluster>(
      "CreateCluster", create_with("ScheduledUpdateConfig", schedule));
  const InstanceGroup& read = request.spec.groups.at(0);
  ASSERT_TRUE(read.schedule);
  EXPECT_EQ(read.schedule->expression, "cron(0 3 ? * SUN *)");
  EXPECT_THAT(read.schedule->deployment.alarms, ElementsAre("job.failed"));
  const auto refusal = [&](const char* member, const json& value) {
    json other = schedule;
    other[member] = value;
    return refused("CreateCluster", create_with("ScheduledUpdateConfig", other)).message;
  };
  EXPECT_THAT(refusal("ScheduleExpression", "cron(0 25 ? * SUN *)"),
              HasSubstr("'workers': ScheduleExpression: hours: '25'"));
  EXPECT_THAT(
      refusal("DeploymentConfig", {{"AutoRollbackConfiguration", {{{"AlarmName", "cpu-high"}}}}}),
      HasSubstr("there is no alarm 'cpu-high'"));
}

TEST(HyperPodRequest, BindsTokensToTheirQuery) {
  json body = {{"ClusterName", "c"}, {"InstanceGroupNameContains", "w"}, {"MaxResults", 10}};
  const auto first = parsed<request::ListClusterNodes>("ListClusterNodes", body);
  EXPECT_EQ(first.page.size, 10U);
  EXPECT_FALSE(first.page.is_descending);
  body["NextToken"] = first.page.token("0000000a");
  body["MaxResults"] = 20;
  EXPECT_EQ(parsed<request::ListClusterNodes>("ListClusterNodes", body).page.after, "0000000a");
  body["SortOrder"] = "Descending";
  EXPECT_THAT(refused("ListClusterNodes", body).message, HasSubstr("NextToken is not of"));
  body.erase("SortOrder");
  body["InstanceGroupNameContains"] = "x";
  EXPECT_EQ(refused("ListClusterNodes", body).type, ErrorType::kValidation);
  EXPECT_EQ(refused("ListClusters", {{"NextToken", body["NextToken"]}}).type,
            ErrorType::kValidation);
  EXPECT_EQ(refused("ListClusters", {{"NextToken", "x"}}).type, ErrorType::kValidation);
}

TEST(HyperPodRequest, ReadsListsOfEvents) {
  const auto list = parsed<request::ListClusterEvents>("ListClusterEvents",
                                                       {{"ClusterName", "c"},
                                                        {"EventTimeAfter", 1'700'000'000.5},
                                                        {"EventTimeBefore", "2023-11-14T22:13:21Z"},
                                                        {"ResourceType", "Instance"}});
  EXPECT_TRUE(list.page.is_descending);
  EXPECT_EQ(list.page.size, kPageMax);
  EXPECT_EQ(list.after, WallTime{1'700'000'000'500'000'000});
  EXPECT_EQ(list.before, WallTime{1'700'000'001'000'000'000});
  EXPECT_EQ(list.resource_type, "Instance");
}

TEST(HyperPodRequest, HandsGovernanceOn) {
  const auto request = parsed<request::Governance>(
      "DescribeComputeQuota", {{"ComputeQuotaId", "abcdefghij01"}, {"Unknown", 1}});
  EXPECT_EQ(request.operation->name, "DescribeComputeQuota");
  EXPECT_EQ(request.body, json({{"ComputeQuotaId", "abcdefghij01"}}));
}

}  // namespace
}  // namespace holdfast::hyperpod
