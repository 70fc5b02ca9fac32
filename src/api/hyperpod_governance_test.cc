#include "api/hyperpod_governance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include <nlohmann/json.hpp>

namespace holdfast {
namespace {

using nlohmann::json;

const ArnScope kScope{"us-east-1", "123456789012"};
constexpr const char* kClusterArn = "arn:aws:sagemaker:us-east-1:123456789012:cluster/cluster00001";

GovernanceRecord record(GovernanceKind kind, const std::string& id, const std::string& name,
                        std::int64_t created_s) {
  GovernanceRecord made{.kind = kind, .id = id, .cluster = "cluster00001", .name = name};
  made.created = WallTime{created_s * 1'000'000'000};
  made.created_by = "AKIA1";
  made.versions.push_back({.number = 1,
                           .config = R"({"PreemptTeamTasks":"Never"})",
                           .target = R"({"TeamName":"a","FairShareWeight":3})",
                           .team = "a",
                           .modified = made.created,
                           .modified_by = "AKIA1"});
  return made;
}

json look(const std::string& operation, const json& request, const GovernanceState& state) {
  const auto answer = answer_governance_look(operation, request, state, kScope);
  EXPECT_TRUE(answer.ok()) << answer.error().text();
  return answer.ok() ? json::parse(*answer) : json();
}

TEST(HyperpodGovernance, Operations) {
  EXPECT_TRUE(is_governance_operation("DescribeComputeQuota"));
  EXPECT_TRUE(is_governance_operation("ListClusterSchedulerConfigs"));
  EXPECT_FALSE(is_governance_operation("ListComputeQuota"));
  EXPECT_FALSE(is_governance_operation("DescribeComputeQuotas"));
  EXPECT_FALSE(is_governance_operation("DescribeCluster"));
  EXPECT_TRUE(is_governance_change("DeleteComputeQuota"));
  EXPECT_FALSE(is_governance_change("ListComputeQuotas"));
}

TEST(HyperpodGovernance, RequestsForChanges) {
  const auto create =
      read_governance_change("CreateComputeQuota",
                             {{"Name", "q"},
                              {"ClusterArn", kClusterArn},
                              {"ComputeQuotaConfig", {{"PreemptTeamTasks", "Never"}}},
                              {"ComputeQuotaTarget", {{"TeamName", "team-a"}}},
                              {"ActivationState", "Disabled"}},
                             "abcdefghijkl");
  ASSERT_TRUE(create.ok());
  EXPECT_EQ(create->action, GovernanceAction::kCreate);
  EXPECT_EQ(create->kind, GovernanceKind::kComputeQuota);
  EXPECT_EQ(create->id, "abcdefghijkl");
  EXPECT_EQ(create->cluster, "cluster00001");
  EXPECT_EQ(create->config, R"({"PreemptTeamTasks":"Never"})");
  EXPECT_EQ(create->team, "team-a");
  EXPECT_EQ(create->is_active, false);
  EXPECT_EQ(create->description, std::nullopt);

  const auto update = read_governance_change(
      "UpdateClusterSchedulerConfig",
      {{"ClusterSchedulerConfigId", "config000001"}, {"TargetVersion", 3}, {"Description", "d"}},
      "abcdefghijkl");
  ASSERT_TRUE(update.ok());
  EXPECT_EQ(update->action, GovernanceAction::kUpdate);
  EXPECT_EQ(update->id, "config000001");
  EXPECT_EQ(update->target_version, 3u);
  EXPECT_EQ(update->description, "d");
  EXPECT_EQ(update->config, std::nullopt);

  const auto bad = read_governance_change("UpdateComputeQuota", {{"TargetVersion", "x"}}, "");
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, Errc::kInvalidField);
}

TEST(HyperpodGovernance, AnswersToChanges) {
  GovernanceState state;
  state.records["quota0000001"] = record(GovernanceKind::kComputeQuota, "quota0000001", "q", 5);
  GovernanceChange change{.kind = GovernanceKind::kComputeQuota, .id = "quota0000001"};
  EXPECT_EQ(json::parse(render_governance_change(change, state, kScope)),
            json({{"ComputeQuotaArn",
                   "arn:aws:sagemaker:us-east-1:123456789012:compute-quota/quota0000001"},
                  {"ComputeQuotaId", "quota0000001"}}));
  change.action = GovernanceAction::kUpdate;
  state.records["quota0000001"].versions.back().number = 4;
  EXPECT_EQ(json::parse(render_governance_change(change, state, kScope))["ComputeQuotaVersion"], 4);
  change.action = GovernanceAction::kDelete;
  EXPECT_EQ(render_governance_change(change, state, kScope), "{}");
}

TEST(HyperpodGovernance, DescribesEachVersionThatIsKept) {
  GovernanceState state;
  GovernanceRecord& quota = state.records["quota0000001"];
  quota = record(GovernanceKind::kComputeQuota, "quota0000001", "q", 1'700'000'000);
  GovernanceVersion second = quota.versions[0];
  second.number = 2;
  second.description = "more";
  second.is_active = false;
  second.modified = WallTime{1'700'000'001'500'000'000};
  quota.versions.push_back(second);
  EXPECT_EQ(look("DescribeComputeQuota", {{"ComputeQuotaId", "quota0000001"}}, state),
            json::parse(R"({
    "ComputeQuotaArn": "arn:aws:sagemaker:us-east-1:123456789012:compute-quota/quota0000001",
    "ComputeQuotaId": "quota0000001", "ComputeQuotaVersion": 2, "Name": "q", "Status": "Updated",
    "ClusterArn": "arn:aws:sagemaker:us-east-1:123456789012:cluster/cluster00001",
    "Description": "more", "ActivationState": "Disabled",
    "ComputeQuotaConfig": {"PreemptTeamTasks": "Never"},
    "ComputeQuotaTarget": {"TeamName": "a", "FairShareWeight": 3},
    "CreationTime": 1700000000.0, "LastModifiedTime": 1700000001.5,
    "CreatedBy": {"IamIdentity": {"Arn": "arn:aws:iam::123456789012:user/AKIA1",
                                  "PrincipalId": "AKIA1"}},
    "LastModifiedBy": {"IamIdentity": {"Arn": "arn:aws:iam::123456789012:user/AKIA1",
                                       "PrincipalId": "AKIA1"}}})"));
  const json first = look("DescribeComputeQuota",
                          {{"ComputeQuotaId", "quota0000001"}, {"ComputeQuotaVersion", 1}}, state);
  EXPECT_EQ(first["ActivationState"], "Enabled");
  EXPECT_FALSE(first.contains("Description"));
  for (const json& request : {json{{"ComputeQuotaId", "quota0000001"}, {"ComputeQuotaVersion", 3}},
                              json{{"ComputeQuotaId", "quota0000002"}}, json::object()}) {
    const auto none = answer_governance_look("DescribeComputeQuota", request, state, kScope);
    ASSERT_FALSE(none.ok());
    EXPECT_EQ(none.error().code, Errc::kNotFound);
  }
  EXPECT_FALSE(answer_governance_look("DescribeClusterSchedulerConfig",
                                      {{"ClusterSchedulerConfigId", "quota0000001"}}, state, kScope)
                   .ok());
}

TEST(HyperpodGovernance, ListsWhatIsAskedFor) {
  GovernanceState state;
  for (const auto& [id, name, at] :
       {std::tuple("quota0000001", "b", 3), std::tuple("quota0000002", "a", 1),
        std::tuple("quota0000003", "ab", 2)})
    state.records[id] = record(GovernanceKind::kComputeQuota, id, name, at);
  state.records["config000001"] = record(GovernanceKind::kSchedulerConfig, "config000001", "c", 9);
  const auto names = [&](const json& request) {
    std::string all;
    const json answer = look("ListComputeQuotas", request, state);
    for (const json& one : answer["ComputeQuotaSummaries"])
      all += one["Name"].get<std::string>() + " ";
    return all;
  };
  EXPECT_EQ(names(json::object()), "b ab a ");
  EXPECT_EQ(names({{"SortOrder", "Ascending"}}), "a ab b ");
  EXPECT_EQ(names({{"SortBy", "Name"}, {"SortOrder", "Ascending"}}), "a ab b ");
  EXPECT_EQ(names({{"SortBy", "Name"}}), "b ab a ");
  EXPECT_EQ(names({{"NameContains", "a"}}), "ab a ");
  EXPECT_EQ(names({{"CreatedAfter", 1}}), "b ab ");
  EXPECT_EQ(names({{"CreatedBefore", 2.5}}), "ab a ");
  EXPECT_EQ(names({{"Status", "Updated"}}), "");
  EXPECT_EQ(names({{"ClusterArn", kClusterArn}, {"Status", "Created"}}), "b ab a ");
  EXPECT_EQ(
      names({{"ClusterArn", "arn:aws:sagemaker:eu-west-1:123456789012:cluster/cluster00001"}}), "");
  const json configs =
      look("ListClusterSchedulerConfigs", json::object(), state)["ClusterSchedulerConfigSummaries"];
  ASSERT_EQ(configs.size(), 1u);
  EXPECT_EQ(configs[0]["ClusterSchedulerConfigVersion"], 1);
  EXPECT_FALSE(configs[0].contains("ComputeQuotaConfig"));
}

TEST(HyperpodGovernance, PagesGoOnWhateverComesBetween) {
  GovernanceState state;
  const auto put = [&](int n) {
    const std::string id = "quota" + std::to_string(1'000'000 + n);
    state.records[id] = record(GovernanceKind::kComputeQuota, id, "q" + std::to_string(n), 7);
  };
  for (int n = 0; n < 25; ++n) put(2 * n);
  for (const char* sort_by : {"Name", "CreationTime", "Status", "ClusterArn"}) {
    std::multiset<std::string> seen;
    json request{{"SortBy", sort_by}, {"MaxResults", 10}};
    for (int page = 0; page < 3; ++page) {
      const json answer = look("ListComputeQuotas", request, state);
      for (const json& one : answer["ComputeQuotaSummaries"]) seen.insert(one["ComputeQuotaId"]);
      EXPECT_EQ(answer.contains("NextToken"), page < 2);
      if (page < 2) request["NextToken"] = answer["NextToken"];
      put(1000 + page);  // may be seen or not
    }
    for (int n = 0; n < 25; ++n)
      EXPECT_EQ(seen.count("quota" + std::to_string(1'000'000 + 2 * n)), 1u) << sort_by;
    for (int page = 0; page < 3; ++page)
      state.records.erase("quota" + std::to_string(1'000'000 + 1000 + page));
  }
  for (const char* token : {"", "zz", "0", "5b5d", "6e756c6c", "5b226e"}) {
    const auto answer =
        answer_governance_look("ListComputeQuotas", {{"NextToken", token}}, state, kScope);
    ASSERT_FALSE(answer.ok()) << token;
    EXPECT_EQ(governance_error_type(answer.error().code), "ValidationException");
  }
  json request{{"SortBy", "Name"}, {"MaxResults", 1}};
  request["NextToken"] = look("ListComputeQuotas", request, state)["NextToken"];
  request["SortBy"] = "Status";
  EXPECT_FALSE(answer_governance_look("ListComputeQuotas", request, state, kScope).ok());
}

TEST(HyperpodGovernance, ErrorsInTheWordsOfAws) {
  EXPECT_EQ(governance_error_type(Errc::kNotFound), "ResourceNotFound");
  EXPECT_EQ(governance_error_type(Errc::kNameExists), "ConflictException");
  EXPECT_EQ(governance_error_type(Errc::kWrongState), "ConflictException");
}

}  // namespace
}  // namespace holdfast
