#include "api/hyperpod/group_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

InstanceGroup group(const std::string& name, std::uint32_t count) {
  return {.name = name, .count = count, .instance_types = {"ml.p5.48xlarge"}};
}

ClusterSpec cluster() {
  ClusterSpec spec{.name = "train", .id = "abcdefghij01", .is_continuous = true};
  spec.specification = R"({"ClusterName": "train", "NodeRecovery": "Automatic"})";
  spec.groups = {group("workers", 4), group("login", 1)};
  spec.groups[0].number = 1;
  spec.groups[0].spares = 2;
  spec.groups[1].number = 2;
  return spec;
}

std::string refusal(const request::UpdateCluster& request) {
  const auto result = updated(cluster(), request);
  const auto* error = std::get_if<ApiError>(&result);
  return error ? error->message : "";
}

TEST(UpdatedCluster, ReplacesAddsAndDeletesGroups) {
  const auto result = updated(cluster(), {.groups = {group("workers", 8), group("more", 3)},
                                          .to_delete = {"login"},
                                          .recovers_nodes = false,
                                          .settings = {{"NodeRecovery", "None"}}});
  const auto& spec = std::get<ClusterSpec>(result);
  ASSERT_EQ(spec.groups.size(), 2U);
  EXPECT_EQ(spec.groups[0].name, "workers");
  EXPECT_EQ(spec.groups[0].count, 8U);
  EXPECT_EQ(spec.groups[0].number, 1U);
  EXPECT_EQ(spec.groups[0].spares, 2U);
  EXPECT_EQ(spec.groups[1].name, "more");
  EXPECT_EQ(spec.groups[1].number, 0U);
  EXPECT_EQ(spec.nodes(), 11U);
  EXPECT_EQ(spec.spares(), 2U);
  EXPECT_FALSE(spec.recovers_nodes);
  EXPECT_TRUE(spec.is_continuous);
  EXPECT_EQ(json::parse(spec.specification),
            json({{"ClusterName", "train"}, {"NodeRecovery", "None"}}));
}

TEST(UpdatedCluster, LeavesWhatIsNotNamed) {
  const auto result = updated(cluster(), {.settings = json::object()});
  const auto& spec = std::get<ClusterSpec>(result);
  EXPECT_EQ(spec.groups.size(), 2U);
  EXPECT_EQ(spec.nodes(), 5U);
  EXPECT_TRUE(spec.recovers_nodes);
}

TEST(UpdatedCluster, RefusesWhatCannotBe) {
  EXPECT_THAT(refusal({.to_delete = {"none"}}), HasSubstr("no instance group 'none'"));
  EXPECT_THAT(refusal({.groups = {group("login", 2)}, .to_delete = {"login"}}),
              HasSubstr("'login' is in both"));
  EXPECT_THAT(refusal({.to_delete = {"login", "workers"}}), HasSubstr("Use DeleteCluster"));
  InstanceGroup other = group("login", 1);
  other.instance_types = {"ml.c5.large"};
  EXPECT_THAT(refusal({.groups = {other}}), HasSubstr("types cannot be changed"));
  request::UpdateCluster many;
  for (int i = 0; i < 99; ++i) many.groups.push_back(group("g" + std::to_string(i), 1));
  const auto result = updated(cluster(), many);
  EXPECT_EQ(std::get<ApiError>(result).type, ErrorType::kResourceLimitExceeded);
}

TEST(AddedNodes, AreCountedOrRefusedGroupByGroup) {
  request::BatchAddClusterNodes request;
  request.additions = {{"workers", 3, {"ml.p5.48xlarge"}, {}},
                       {"none", 1, {}, {}},
                       {"login", 1, {}, {"us-west-2a"}},
                       {"login", 1, {"ml.c5.large"}, {}},
                       {"workers", 6755, {}, {}}};
  const auto result = with_nodes_added(cluster(), request);
  const auto& added = std::get<NodesAdded>(result);
  std::vector<std::string> codes;
  for (const AdditionOutcome& outcome : added.outcomes) codes.push_back(outcome.error_code);
  EXPECT_EQ(codes,
            (std::vector<std::string>{"", "InstanceGroupNotFound", "IncompatibleAvailabilityZones",
                                      "IncompatibleInstanceTypes", "InvalidInstanceGroupStatus"}));
  EXPECT_EQ(added.spec.groups[0].count, 7U);
  EXPECT_EQ(added.spec.groups[1].count, 1U);
  EXPECT_EQ(added.spec.nodes(), 8U);
}

TEST(AddedNodes, NeedContinuousProvisioning) {
  ClusterSpec spec = cluster();
  spec.is_continuous = false;
  const auto result = with_nodes_added(spec, {});
  EXPECT_THAT(std::get<ApiError>(result).message, HasSubstr("NodeProvisioningMode Continuous"));
}

}  // namespace
}  // namespace holdfast::hyperpod
