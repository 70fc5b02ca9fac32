#include "api/check_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::HasSubstr;

TEST(CheckFile, EveryKey) {
  const auto checks = parse_check_file(R"(
on_start: [InstanceStress, InstanceConnectivity]
after_repair: [InstanceStress]
scripts: /opt/checks
load_s: 2.5
test_budget_s: 60
budget_s: 600
floors:
  - {instance_type: p5, test: memory_bandwidth, value: 100.5}
  - {test: link_latency, value: 50}
)",
                                       "checks.yaml");
  ASSERT_TRUE(checks.ok()) << checks.error().text();
  EXPECT_EQ(checks->on_start.size(), 2u);
  EXPECT_EQ(checks->after_repair, std::vector<CheckKind>{CheckKind::kInstanceStress});
  EXPECT_EQ(checks->scripts, "/opt/checks");
  EXPECT_EQ(checks->load, milliseconds(2500));
  EXPECT_EQ(checks->budget, seconds(600));
  EXPECT_EQ(checks->floors.at(0).value, 100'500);
  EXPECT_EQ(checks->floors.at(1).instance_type, "*");
}

TEST(CheckFile, NothingIsTheDefaults) {
  const auto checks = parse_check_file("", "checks.yaml");
  ASSERT_TRUE(checks.ok()) << checks.error().text();
  EXPECT_TRUE(checks->on_start.empty());
}

TEST(CheckFile, ErrorsNameLineFieldValueAndRemedy) {
  const auto error = [](const std::string& text) {
    const auto checks = parse_check_file(text, "c.yaml");
    return checks.ok() ? "ok" : checks.error().text();
  };
  EXPECT_THAT(error("on_start: [Stress]"), HasSubstr("c.yaml:1: on_start"));
  EXPECT_THAT(error("\nload: 3"), HasSubstr("c.yaml:2: load"));
  EXPECT_THAT(error("scripts: checks"), HasSubstr("begins with /"));
  EXPECT_THAT(error("load_s: 100\ntest_budget_s: 150"), HasSubstr("at least twice load_s"));
  EXPECT_THAT(error("budget_s: 10"), HasSubstr("at least test_budget_s"));
  EXPECT_THAT(error("floors: [{test: x}]"), HasSubstr("give test and value"));
  EXPECT_THAT(error("floors: [{test: x, value: -1}]"), HasSubstr("floors[0].value"));
}

TEST(CheckRequests, NodesKindsAndDrain) {
  const auto request = parse_check_request(
      R"({"nodes": ["n3", "n12"], "checks": ["InstanceStress"], "drain": true})");
  ASSERT_TRUE(request.ok()) << request.error().text();
  EXPECT_EQ(request->nodes, (std::vector<NodeId>{NodeId{3}, NodeId{12}}));
  EXPECT_TRUE(request->drain);
  EXPECT_EQ(parse_check_request(R"({"nodes": ["n1"]})")->kinds.size(), 2u);
  for (const char* bad :
       {"", "{}", R"({"nodes": []})", R"({"nodes": ["3"]})", R"({"nodes": ["n0"]})",
        R"({"nodes": ["n1x"]})", R"({"nodes": ["n1"], "force": true})"})
    EXPECT_FALSE(parse_check_request(bad).ok()) << bad;
}

}  // namespace
}  // namespace holdfast
