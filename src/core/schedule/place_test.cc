#include "core/schedule/place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A cluster of four healthy nodes n1..n4 in places 1..4.
class Place : public testing::Test {
 protected:
  Place() {
    state_.groups = {{.number = 1, .places = {1, 2, 3, 4}}};
    for (std::uint32_t n = 1; n <= 4; ++n) add(n, n, NodeState::kHealthy);
    job_.spec.nodes_min = job_.spec.nodes_max = 4;
  }
  NodeRecord& add(std::uint32_t id, std::uint32_t place, NodeState state) {
    return state_.nodes[NodeId{id}] = {
               .id = NodeId{id}, .state = state, .group = 1, .place = place};
  }
  NodeRecord& node(std::uint32_t id) { return state_.nodes.at(NodeId{id}); }
  void lose(std::uint32_t id) {
    node(id).state = NodeState::kGone;
    node(id).place = 0;
  }
  Allocation allocated() { return allocate(job_, state_, NodeIndex(state_)); }

  ClusterState state_;
  JobRecord job_;
};

TEST_F(Place, RanksKeepTheirOrderWhenASpareTookAPlace) {
  lose(2);
  add(5, 2, NodeState::kHealthy);
  EXPECT_THAT(allocated().nodes, ElementsAre(NodeId{1}, NodeId{5}, NodeId{3}, NodeId{4}));
}

TEST_F(Place, TakesNoMoreThanAskedForAndNoSpare) {
  add(5, 0, NodeState::kHealthy);
  job_.spec.nodes_max = job_.spec.nodes_min = 2;
  EXPECT_THAT(allocated().nodes, ElementsAre(NodeId{1}, NodeId{2}));
  job_.spec.nodes_max = job_.spec.nodes_min = 5;
  EXPECT_THAT(allocated().nodes, IsEmpty());
}

TEST_F(Place, AFixedSizeJobWaitsAndSaysForWhat) {
  lose(3);
  EXPECT_THAT(allocated().nodes, IsEmpty());
  EXPECT_THAT(allocated().reason, HasSubstr("waits for 1 more node(s): 3 of 4"));
  EXPECT_THAT(allocated().reason, HasSubstr("holdfast node add"));
}

TEST_F(Place, AMachineThatIsComingIsNotAskedForAgain) {
  lose(3);
  add(5, 0, NodeState::kProvisioning);
  EXPECT_THAT(allocated().reason, HasSubstr("1 are being provisioned"));
  EXPECT_THAT(allocated().reason, Not(HasSubstr("node add")));
}

TEST_F(Place, SaysWhoHoldsTheNodes) {
  node(1).job = JobId{7};
  EXPECT_THAT(allocated().reason, HasSubstr("1 run other jobs"));
  node(2).state = NodeState::kSuspect;
  EXPECT_THAT(allocated().reason, HasSubstr("1 are suspect"));
}

TEST_F(Place, TheFirstStartWaitsForWhatIsComing) {
  job_.spec.nodes_min = 2;
  node(4).state = NodeState::kProvisioning;
  EXPECT_THAT(allocated().nodes, IsEmpty());
  lose(4);
  EXPECT_EQ(allocated().nodes.size(), 3u);
}

TEST_F(Place, AJobThatHasRunGoesOnSmallerAtOnce) {
  job_.spec.nodes_min = 2;
  job_.attempt.number = Attempt{1};
  node(4).state = NodeState::kProvisioning;
  EXPECT_THAT(allocated().nodes, ElementsAre(NodeId{1}, NodeId{2}, NodeId{3}));
}

TEST_F(Place, OfItsInstanceGroupOnly) {
  state_.spec.groups = {{.number = 1, .name = "a"}, {.number = 2, .name = "b"}};
  state_.groups.push_back({.number = 2, .places = {5, 6}});
  for (std::uint32_t n = 5; n <= 6; ++n) add(n, n, NodeState::kHealthy).group = 2;
  job_.spec.instance_group = "b";
  EXPECT_THAT(allocated().nodes, IsEmpty());
  EXPECT_THAT(allocated().reason, HasSubstr("2 of 4 are healthy and free in group 'b'"));
  job_.spec.nodes_min = 1;
  EXPECT_THAT(allocated().nodes, ElementsAre(NodeId{5}, NodeId{6}));
  job_.spec.instance_group = "gone";
  EXPECT_THAT(allocated().reason, HasSubstr("in group 'gone', which is gone"));
}

TEST_F(Place, NotOnANodeWithOtherSoftwareUnlessAsked) {
  for (std::uint32_t n = 1; n <= 4; ++n) node(n).software = {{"driver", n == 2 ? "535" : "550"}};
  EXPECT_THAT(allocated().nodes, IsEmpty());
  EXPECT_THAT(allocated().reason,
              HasSubstr("n2 has driver 535, where 3 of 4 of its kind have 550"));
  EXPECT_THAT(allocated().reason, HasSubstr("allow_drifted"));
  job_.spec.nodes_min = 3;
  EXPECT_THAT(allocated().nodes, ElementsAre(NodeId{1}, NodeId{3}, NodeId{4}));
  job_.spec.allow_drifted = true;
  EXPECT_THAT(allocated().nodes, testing::SizeIs(4));
  job_.spec.allow_drifted = false;
  state_.software_update.emplace();
  EXPECT_THAT(allocated().nodes, testing::SizeIs(4)) << "an update makes them differ for a while";
}

TEST_F(Place, WithoutAMajorityNoneIsTheOddOne) {
  for (std::uint32_t n = 1; n <= 4; ++n) node(n).software = {{"driver", n < 3 ? "535" : "550"}};
  EXPECT_THAT(allocated().nodes, testing::SizeIs(4));
}

}  // namespace
}  // namespace holdfast
