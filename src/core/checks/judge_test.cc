#include "core/checks/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/checks/plan.h"
#include "core/checks/tournament.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

class JudgeTest : public testing::Test {
 protected:
  explicit JudgeTest(std::uint32_t nodes = 6) {
    run_.id = CheckId{1};
    for (std::uint32_t n = 1; n <= nodes; ++n) run_.members.push_back({.node = NodeId{n}});
  }
  CheckResult& add(std::uint32_t node, const std::string& test, std::int64_t value,
                   const std::string& unit = "GB/s") {
    return run_.results.emplace_back(
        CheckResult{.test = test, .node = NodeId{node}, .value = value, .unit = unit});
  }
  CheckResult& add_failed(std::uint32_t node, const std::string& test, Action action) {
    return run_.results.emplace_back(CheckResult{.test = test,
                                                 .node = NodeId{node},
                                                 .verdict = CheckVerdict::kFailed,
                                                 .action = action,
                                                 .reason = "it says so"});
  }
  // All links of a tournament; slow ones are a tenth.
  void add_links(const std::set<std::uint32_t>& slow_nodes,
                 const std::set<std::pair<std::uint32_t, std::uint32_t>>& slow_links = {}) {
    for (std::uint32_t round = 0; round < rounds_of(run_.members.size()); ++round)
      for (const auto& [a, b] : pairs_of_round(run_.members.size(), round)) {
        const auto first = static_cast<std::uint32_t>(a + 1);
        const auto second = static_cast<std::uint32_t>(b + 1);
        const bool slow = slow_nodes.contains(first) || slow_nodes.contains(second) ||
                          slow_links.contains({first, second});
        add(second, "link", slow ? 1000 : 10'000 + static_cast<std::int64_t>(round)).peer =
            NodeId{first};
      }
  }
  Judgement judged(bool confirming = true) {
    run_.is_confirming = confirming;
    return judge(run_, fleet_, floors_, types_);
  }
  static std::vector<std::uint32_t> bad(const Judgement& judgement) {
    std::vector<std::uint32_t> nodes;
    for (const auto& [node, finding] : judgement.bad) nodes.push_back(node.value);
    return nodes;
  }

  CheckRun run_;
  FleetValues fleet_;
  std::vector<CheckFloor> floors_;
  std::map<NodeId, std::string> types_;
};

TEST_F(JudgeTest, WhatATestSaysOfItself) {
  add(1, "memory_bandwidth", 10'000);
  add_failed(2, "gemm", Action::kReplaceNode);
  add_failed(3, "script", Action::kNone);
  const Judgement found = judged();
  EXPECT_EQ(bad(found), (std::vector<std::uint32_t>{2, 3}));
  EXPECT_EQ(found.bad.at(NodeId{2}).action, Action::kReplaceNode);
  EXPECT_EQ(found.bad.at(NodeId{3}).action, Action::kRebootNode) << "the mild one";
  EXPECT_EQ(found.bad.at(NodeId{2}).summary, "deep checks c1: gemm failed: it says so");
}

TEST_F(JudgeTest, OneSlowNodeAmongItsPeers) {
  for (std::uint32_t n = 1; n <= 6; ++n) add(n, "memory_bandwidth", n == 4 ? 3000 : 10'000 + n);
  const Judgement found = judged();
  EXPECT_EQ(bad(found), std::vector<std::uint32_t>{4});
  EXPECT_THAT(found.bad.at(NodeId{4}).summary,
              HasSubstr("3 GB/s is beyond the threshold of 6.00 GB/s (5 peers, median 10"));
  for (const CheckResult& result : found.results) EXPECT_TRUE(result.threshold);
}

TEST_F(JudgeTest, TheFirstNodeIsComparedWithWhatWasMeasuredBefore) {
  run_.members.resize(1);
  add(1, "memory_bandwidth", 3000);
  EXPECT_EQ(bad(judged()), std::vector<std::uint32_t>{}) << "nobody to compare with";
  for (std::uint32_t n = 11; n < 15; ++n) fleet_["memory_bandwidth"][NodeId{n}] = 10'000;
  EXPECT_EQ(bad(judged()), std::vector<std::uint32_t>{1});
  for (std::uint32_t n = 11; n < 15; ++n) types_[NodeId{n}] = "another";
  EXPECT_EQ(bad(judged()), std::vector<std::uint32_t>{}) << "of another type";
}

TEST_F(JudgeTest, AFloorOfItsTypeBeforeThatOfAllAndTheStricterOfFloorAndFleet) {
  floors_ = {{"*", "memory_bandwidth", 100}, {"big", "memory_bandwidth", 20'000}};
  types_[NodeId{1}] = "big";
  run_.members.resize(2);
  add(1, "memory_bandwidth", 10'000);
  add(2, "memory_bandwidth", 10'000);
  EXPECT_EQ(bad(judged()), std::vector<std::uint32_t>{1});
  for (std::uint32_t n = 11; n < 15; ++n) fleet_["memory_bandwidth"][NodeId{n}] = 30'000;
  EXPECT_EQ(bad(judged()), (std::vector<std::uint32_t>{1, 2})) << "the fleet is stricter than *";
}

TEST_F(JudgeTest, ASlowNodeIsFoundByItsLinksAndItsPeersPass) {
  add_links({3});
  const Judgement found = judged();
  EXPECT_EQ(bad(found), std::vector<std::uint32_t>{3});
  EXPECT_EQ(found.bad.at(NodeId{3}).evidence.size(), 5u);
  EXPECT_EQ(found.bad.at(NodeId{3}).cause, CauseClass::kInterconnect);
}

TEST_F(JudgeTest, OfASingleBadLinkTheNewerEndGoesAndThePartnerStays) {
  add_links({}, {{2, 5}});
  EXPECT_EQ(bad(judged()), std::vector<std::uint32_t>{5});
  run_.members[4].is_partner = true;
  EXPECT_EQ(bad(judged()), std::vector<std::uint32_t>{2});
}

TEST_F(JudgeTest, WhatIsSlowIsMeasuredOnceMoreBeforeItCounts) {
  for (std::uint32_t n = 1; n <= 6; ++n) add(n, "memory_bandwidth", n == 4 ? 3000 : 10'000);
  add_links({}, {{2, 5}});
  const Judgement first = judged(false);
  ASSERT_EQ(first.confirm.size(), 2u);
  EXPECT_EQ(first.confirm[0].test, "memory");
  EXPECT_EQ(first.confirm[0].only, std::vector<NodeId>{NodeId{4}});
  EXPECT_EQ(first.confirm[1].test, "link");
  EXPECT_EQ(first.confirm[1].only, (std::vector<NodeId>{NodeId{2}, NodeId{5}}));
  add(4, "memory_bandwidth", 9900);  // it was noise
  add(2, "link", 9900).peer = NodeId{5};
  EXPECT_EQ(bad(judged()), std::vector<std::uint32_t>{});
}

// A second measurement that is better makes the fleet look better; who has passed has passed.
TEST_F(JudgeTest, WhatHasPassedStaysSoWhenTheMedianMoves) {
  for (std::uint32_t n = 1; n <= 6; ++n) add(n, "memory_bandwidth", n == 1 ? 6200 : 10'000);
  run_.results[0].threshold = 6000;
  for (std::uint32_t n = 2; n <= 6; ++n) add(n, "memory_bandwidth", 11'000);
  EXPECT_EQ(bad(judged(false)), std::vector<std::uint32_t>{1});
  EXPECT_EQ(bad(judged(true)), std::vector<std::uint32_t>{});
}

TEST_F(JudgeTest, InAnAllReduceTheSenderOfAWrongSumIsTheOne) {
  CheckResult& result = add_failed(3, "all_reduce", Action::kRebootNode);
  result.peer = NodeId{2};
  run_.results.push_back(
      {.test = "all_reduce", .node = NodeId{4}, .verdict = CheckVerdict::kSkipped});
  EXPECT_EQ(bad(judged()), std::vector<std::uint32_t>{2});
}

TEST(Plan, PartnersMeasureOnlyLinksAndWhoIsOutMeasuresNothing) {
  const std::vector<CheckMember> members = {
      {.node = NodeId{1}}, {.node = NodeId{2}}, {.node = NodeId{3}, .is_partner = true}};
  const auto steps = plan_checks({CheckKind::kInstanceStress, CheckKind::kInstanceConnectivity},
                                 true, members.size());
  EXPECT_EQ(steps.front().test, "cpu");
  EXPECT_EQ(steps.back().test, "all_reduce");
  EXPECT_TRUE(std::any_of(steps.begin(), steps.end(),
                          [](const CheckStep& step) { return step.test == "scripts"; }));
  EXPECT_EQ(groups_of(steps.front(), members, {}),
            (std::vector<std::vector<NodeId>>{{NodeId{1}}, {NodeId{2}}}));
  EXPECT_EQ(groups_of(steps.front(), members, {NodeId{1}}),
            (std::vector<std::vector<NodeId>>{{NodeId{2}}}));
  EXPECT_EQ(groups_of(steps.back(), members, {NodeId{1}}),
            (std::vector<std::vector<NodeId>>{{NodeId{2}, NodeId{3}}}));
  EXPECT_EQ(groups_of({"link", 0, {NodeId{1}, NodeId{3}}}, members, {}),
            (std::vector<std::vector<NodeId>>{{NodeId{1}, NodeId{3}}}));
}

}  // namespace
}  // namespace holdfast
