// Instance groups: made, grown, shrunk, removed; software updates; how the cluster fares.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/cluster/controller_fixture_test.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

InstanceGroup group(std::string name, std::uint32_t count, std::uint32_t spares = 0) {
  return {.name = std::move(name), .count = count, .spares = spares};
}

class GroupsTest : public ControllerTest {
 protected:
  void update(std::vector<InstanceGroup> groups) {
    ClusterSpec spec = state().spec;
    spec.groups = std::move(groups);
    step(event::ClusterUpdateAsked{spec, "admin"});
  }
  const ClusterState& state() const { return controller_.state(); }
  std::string group_name(std::uint32_t n) const {
    for (const InstanceGroup& one : state().spec.groups)
      if (one.number == node(n).group) return one.name;
    return {};
  }
  void gone(std::uint32_t n) { step(event::NodesLost{{NodeId{n}}, "given back", true}); }
  void fire_update() {
    const TimerId timer{.kind = TimerKind::kUpdate};
    ASSERT_TRUE(timers_.contains(timer));
    now_ = std::max(now_, timers_.at(timer));
    step(event::TimerFired{timer});
  }
  // The machine has restarted: another process under the same id.
  void reboot(std::uint32_t n) {
    step(event::NodeJoined{{.node = NodeId{n}, .rendezvous_port = 20000, .pid = 77}});
  }
};

TEST_F(GroupsTest, EachGroupHasItsPlacesAndItsWarmPool) {
  make_cluster({.groups = {group("head", 1), group("workers", 2, 1)}});
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_EQ(group_name(1), "head");
  EXPECT_EQ(place(1), 1u);
  EXPECT_EQ(group_name(2), "workers");
  EXPECT_EQ(place(3), 3u);
  EXPECT_EQ(group_name(4), "workers");
  EXPECT_EQ(place(4), 0u);
}

TEST_F(GroupsTest, ASpareReplacesOnlyInItsOwnGroup) {
  make_cluster({.groups = {group("head", 1), group("workers", 2, 1)}});
  lose({1});
  EXPECT_EQ(place(4), 0u) << "the workers' spare is no head";
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(5u));
  EXPECT_EQ(node(5).group, node(1).group);
  join(5);
  EXPECT_EQ(place(5), 1u);
  lose({2});
  EXPECT_EQ(place(4), 2u);
}

TEST_F(GroupsTest, AGrownGroupTakesItsSparesFirst) {
  make_cluster({.groups = {group("workers", 2, 1)}});
  update({group("workers", 4, 1)});
  EXPECT_EQ(state().phase, ClusterPhase::kUpdating);
  EXPECT_EQ(place(3), 3u) << "the spare works at once";
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(4u, 5u));
  join(4);
  join(5);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_EQ(place(4), 4u);
  EXPECT_EQ(place(5), 0u);
}

TEST_F(GroupsTest, AShrunkGroupGivesBackIdleNodesFirstAndTheNewestOfThem) {
  make_cluster({.groups = {group("workers", 4)}});
  submit(2, 2);
  run_to(10);
  update({group("workers", 3)});
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(4u));
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  gone(4);
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  EXPECT_EQ(state().groups[0].places, (std::set<std::uint32_t>{1, 2, 3}));
  EXPECT_EQ(job().state, JobState::kRunning);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
}

TEST_F(GroupsTest, AJobOnANodeThatIsTakenAwayGoesOnElsewhere) {
  make_cluster({.groups = {group("workers", 3)}});
  submit(1, 2);
  run_to(10);
  ASSERT_EQ(attempt().nodes, (std::vector{NodeId{1}, NodeId{2}}));
  step(event::NodesRemoveAsked{{NodeId{2}}, "admin"});
  EXPECT_EQ(node(2).state, NodeState::kCordoned);
  EXPECT_EQ(state().spec.groups[0].count, 2u);
  drain_all();
  EXPECT_EQ(attempt().nodes, (std::vector{NodeId{1}, NodeId{3}}));
  EXPECT_EQ(job().last_verdict->cause, CauseClass::kScheduling);
  EXPECT_EQ(node(2).state, NodeState::kReplacing);
}

TEST_F(GroupsTest, AGroupIsAddedAndRemoved) {
  make_cluster({.groups = {group("a", 1), group("b", 1, 1)}});
  update({group("a", 1), group("c", 1)});
  EXPECT_THAT(asked<effect::Terminate>(), testing::UnorderedElementsAre(2u, 3u));
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(4u));
  EXPECT_EQ(state().spec.groups[1].number, 3u) << "numbers are never given twice";
  gone(2);
  gone(3);
  join(4);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_THAT(state().groups, SizeIs(2));
}

TEST_F(GroupsTest, ScaledToZeroAndBack) {
  make_cluster({.groups = {group("workers", 2)}});
  update({group("workers", 0)});
  gone(1);
  gone(2);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_TRUE(state().groups[0].places.empty());
  update({group("workers", 1)});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(3u));
}

TEST_F(GroupsTest, ATokenThatWasUsedAddsNothingMore) {
  make_cluster({.groups = {group("workers", 1)}});
  ClusterSpec spec = state().spec;
  spec.groups[0].count = 3;
  step(event::ClusterUpdateAsked{spec, "admin", "t", "2 more"});
  EXPECT_THAT(controller_.find_addition("t", now_)->places, ElementsAre(2u, 3u));
  spec.groups[0].count = 5;
  step(event::ClusterUpdateAsked{spec, "admin", "t", "2 more"});
  EXPECT_EQ(state().spec.groups[0].count, 3u);
  now_ = now_ + kTokenLifetime + seconds(1);
  EXPECT_EQ(controller_.find_addition("t", now_), nullptr);
  step(event::ClusterUpdateAsked{spec, "admin", "t", "2 more"});
  EXPECT_EQ(state().spec.groups[0].count, 5u);
}

TEST_F(GroupsTest, AMachineThatWasStillComingIsCalledOff) {
  step(event::ClusterMade{{.name = "test", .groups = {group("workers", 2)}}});
  join(1);
  update({group("workers", 1)});
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(2u));
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  join(2);
  EXPECT_THAT(told<server_message::Fenced>(), ElementsAre(2u));
}

TEST_F(GroupsTest, AClusterWhoseMachinesFailHasFailedAndSaysWhy) {
  step(event::ClusterMade{{.name = "test", .groups = {group("workers", 1)}}});
  for (const std::uint32_t n : {1u, 2u, 3u}) gone(n);
  EXPECT_EQ(state().phase, ClusterPhase::kFailed);
  EXPECT_THAT(state().failure, HasSubstr("group 'workers': n3: given back"));
  step(event::NodeAddAsked{"admin"});
  join(4);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
}

TEST_F(GroupsTest, WithContinuousProvisioningTheFirstNodeIsEnoughAndTheRestIsTriedAgain) {
  step(
      event::ClusterMade{{.name = "test", .groups = {group("workers", 2)}, .is_continuous = true}});
  join(1);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  for (const std::uint32_t n : {2u, 3u, 4u}) gone(n);
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  const TimerId retry{.kind = TimerKind::kCapacity, .attempt = Attempt{1}};
  ASSERT_TRUE(timers_.contains(retry));
  step(event::TimerFired{retry});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(5u));
}

TEST_F(GroupsTest, WhatHasNotComeAfterThreeHoursFailsTheCluster) {
  ClusterSpec spec{.name = "test", .groups = {group("workers", 3)}};
  spec.groups[0].count_min = 2;
  const Instant began = now_;
  step(event::ClusterMade{spec});
  join(1);
  const TimerId limit{.kind = TimerKind::kCapacity};
  ASSERT_TRUE(timers_.contains(limit));
  EXPECT_EQ(timers_.at(limit) - began, seconds(3ll * 3600));
  now_ = timers_.at(limit);
  step(event::TimerFired{limit});
  EXPECT_EQ(state().phase, ClusterPhase::kFailed);
  EXPECT_THAT(state().failure, HasSubstr("3 hours"));
  join(2);
  EXPECT_EQ(state().phase, ClusterPhase::kInService) << "late, and the minimum all the same";
}

TEST_F(GroupsTest, AnUpdateThatHasNotGotItsMachinesAfterThreeHoursIsOver) {
  make_cluster({.groups = {group("workers", 1)}});
  update({group("workers", 3)});
  join(2);
  const TimerId limit{.kind = TimerKind::kCapacity};
  now_ = timers_.at(limit);
  step(event::TimerFired{limit});
  EXPECT_EQ(state().phase, ClusterPhase::kInService) << "with what it has";
  EXPECT_THAT(state().failure, HasSubstr("3 hours"));
}

TEST_F(GroupsTest, AClusterThatGotItsNodesInTimeDoesNotFail) {
  make_cluster({.groups = {group("workers", 1)}});
  const TimerId limit{.kind = TimerKind::kCapacity};
  now_ = timers_.at(limit);
  step(event::TimerFired{limit});
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_EQ(state().failure, "");
}

TEST_F(GroupsTest, TagsChangeNothingButThemselves) {
  make_cluster({.groups = {group("workers", 2)}});
  step(event::SoftwareUpdateAsked{{}, {.batch = {.nodes = 1}, .wait = seconds(60)}, "admin"});
  ClusterSpec spec = state().spec;
  spec.specification = R"({"Tags":[{"Key":"team","Value":"a"}]})";
  EXPECT_TRUE(controller_.check(event::ClusterUpdateAsked{spec, "admin"}).ok());
  step(event::ClusterUpdateAsked{spec, "admin"});
  EXPECT_EQ(state().phase, ClusterPhase::kSystemUpdating);
  EXPECT_EQ(state().spec.specification, spec.specification);
  spec.groups[0].count = 3;
  EXPECT_FALSE(controller_.check(event::ClusterUpdateAsked{spec, "admin"}).ok());
}

TEST_F(GroupsTest, AMinimumIsEnough) {
  ClusterSpec spec{.name = "test", .groups = {group("workers", 3)}};
  spec.groups[0].count_min = 2;
  step(event::ClusterMade{spec});
  join(1);
  EXPECT_EQ(state().phase, ClusterPhase::kCreating);
  join(2);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
}

TEST_F(GroupsTest, ABadNodeThatIsNotToBeRecoveredWaitsForAPerson) {
  make_cluster({.groups = {group("workers", 2, 1)}, .recovers_nodes = false});
  xid(1, 79, Action::kRebootNode);
  EXPECT_EQ(node(1).state, NodeState::kCordoned);
  EXPECT_THAT(asked<effect::Reboot>(), IsEmpty());
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  EXPECT_EQ(place(3), 1u) << "the warm pool is there to be used";
  step(event::NodeReplaceAsked{NodeId{1}, "admin"});
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(1u));
  gone(1);
}

TEST_F(GroupsTest, ARebootThatIsAskedForComesBackUnderTheSameId) {
  make_cluster({.groups = {group("workers", 2)}});
  step(event::NodeRebootAsked{NodeId{1}, "admin"});
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(1u));
  EXPECT_FALSE(controller_.check(event::NodeRebootAsked{NodeId{1}, "admin"}).ok());
  reboot(1);
  EXPECT_EQ(node(1).state, NodeState::kHealthy);
  EXPECT_EQ(place(1), 1u);
}

TEST_F(GroupsTest, AnUpdateGoesBatchByBatchSparesFirst) {
  make_cluster({.groups = {group("workers", 3, 1)}});
  step(event::SoftwareUpdateAsked{{}, {.batch = {.nodes = 2}, .wait = seconds(60)}, "admin"});
  EXPECT_EQ(state().phase, ClusterPhase::kSystemUpdating);
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(4u, 1u));
  EXPECT_TRUE(node(4).updating);
  reboot(4);
  reboot(1);
  EXPECT_THAT(asked<effect::Reboot>(), IsEmpty());
  const Instant before = now_;
  fire_update();
  EXPECT_EQ(now_ - before, seconds(60));
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(2u, 3u));
  reboot(2);
  reboot(3);
  fire_update();
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_EQ(state().software_update->state, SoftwareUpdateState::kSucceeded);
  EXPECT_EQ(state().software_update->updated, 4u);
}

TEST_F(GroupsTest, ANodeThatIsAwayTakesItsPlaceAlongWhenItIsRemoved) {
  make_cluster({.groups = {group("workers", 2)}});
  step(event::NodeRebootAsked{NodeId{2}, "admin"});
  step(event::NodesRemoveAsked{{NodeId{2}}, "admin"});
  EXPECT_EQ(state().spec.groups[0].count, 1u);
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  gone(2);
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
}

TEST_F(GroupsTest, OneThatIsAwayTakesThePlaceThatItHadNotTheLastOne) {
  make_cluster({.groups = {group("workers", 4)}});
  for (const std::uint32_t n : {1u, 3u}) step(event::NodeRebootAsked{NodeId{n}, "admin"});
  EXPECT_EQ(node(1).left_place, 1u);
  step(event::NodesRemoveAsked{{NodeId{1}}, "admin"});
  EXPECT_EQ(state().groups[0].places, (std::set<std::uint32_t>{2, 3, 4}));
  gone(1);
  EXPECT_EQ(node(1).left_place, 0u);
  reboot(3);
  EXPECT_EQ(place(3), 3u);
  EXPECT_EQ(node(3).left_place, 0u);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
}

TEST_F(GroupsTest, OneThatIsLostOrReplacedTakesItsPlaceAndWhatComesForIt) {
  make_cluster({.groups = {group("workers", 3)}});
  step(event::NodeReplaceAsked{NodeId{1}, "admin"});  // n4 comes for it
  lose({2});                                          // and n5 for this one
  ASSERT_EQ(node(1).state, NodeState::kReplacing);
  ASSERT_EQ(node(2).left_place, 2u);
  step(event::NodesRemoveAsked{{NodeId{1}}, "admin"});
  EXPECT_EQ(state().groups[0].places, (std::set<std::uint32_t>{2, 3}));
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(5u)) << "one is enough";
  step(event::NodesRemoveAsked{{NodeId{2}}, "admin"});
  EXPECT_EQ(state().groups[0].places, (std::set<std::uint32_t>{3}));
  EXPECT_EQ(state().spec.groups[0].count, 1u);
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(4u));
  step(event::NodesRemoveAsked{{NodeId{2}}, "admin"});
  EXPECT_EQ(state().spec.groups[0].count, 1u) << "nothing of it is left";
}

TEST_F(GroupsTest, OneWhosePlaceASpareHasTakenGoesAsASpare) {
  make_cluster({.groups = {group("workers", 2, 1)}});
  step(event::NodeRebootAsked{NodeId{1}, "admin"});
  ASSERT_EQ(place(3), 1u);
  ASSERT_EQ(node(1).left_place, 0u);
  step(event::NodeRebootAsked{NodeId{2}, "admin"});  // away too, and nobody has its place
  step(event::NodesRemoveAsked{{NodeId{1}}, "admin"});
  EXPECT_EQ(state().groups[0].places, (std::set<std::uint32_t>{1, 2}));
  EXPECT_EQ(state().spec.groups[0].spares, 0u);
  reboot(2);
  EXPECT_EQ(place(2), 2u);
}

TEST_F(GroupsTest, ACordonedNodeThatIsRemovedDoesNotComeBackFromItsCure) {
  make_cluster({.groups = {group("workers", 2)}});
  submit(1, 2);
  run_to(10);
  step(event::NodeRebootAsked{NodeId{2}, "admin"});
  ASSERT_EQ(node(2).state, NodeState::kCordoned);
  step(event::NodesRemoveAsked{{NodeId{2}}, "admin"});
  drain_all();
  EXPECT_EQ(node(2).state, NodeState::kReplacing);
  EXPECT_EQ(state().spec.groups[0].count, 1u);
}

TEST_F(GroupsTest, EachScalingKeepsWhatItWasFor) {
  make_cluster({.groups = {group("workers", 1)}});
  update({group("workers", 2)});
  update({group("workers", 2), group("head", 1)});
  ASSERT_THAT(state().scalings, SizeIs(3));
  EXPECT_EQ(state().scalings[0].state, ScalingState::kDone);
  EXPECT_EQ(state().scalings[1].state, ScalingState::kSuperseded);
  EXPECT_EQ(state().scalings[1].targets[0].count, 2u);
  EXPECT_THAT(state().scalings[2].targets, SizeIs(2));
  for (const std::uint32_t n : {2u, 3u}) join(n);
  EXPECT_EQ(state().scalings[2].state, ScalingState::kDone);
}

TEST_F(GroupsTest, TheFirstMachineThatWorksAgainBringsTheOthers) {
  make_cluster({.groups = {group("workers", 2)}});
  step(event::SoftwareUpdateAsked{{}, {.batch = {.nodes = 2}}, "admin"});
  for (const std::uint32_t n : {1u, 3u, 4u, 5u}) gone(n);
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty()) << "three in a row have failed";
  reboot(2);
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6u));
}

TEST_F(GroupsTest, AnUpdateThatBreaksANodeStops) {
  make_cluster({.groups = {group("workers", 3)}});
  step(event::SoftwareUpdateAsked{{"workers"}, {.batch = {.nodes = 1}}, "admin"});
  lose({1});
  fire_update();
  EXPECT_EQ(state().software_update->state, SoftwareUpdateState::kFailed);
  EXPECT_THAT(state().failure, HasSubstr("1 failed, 2 not touched"));
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
}

TEST_F(GroupsTest, AnUpdateMovesTheJobsOfABatchOnce) {
  make_cluster({.groups = {group("workers", 4)}});
  submit(1, 2);
  run_to(10);
  step(event::SoftwareUpdateAsked{{}, {.batch = {.nodes = 4}}, "admin"});
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(3u, 4u));
  drain_all();
  EXPECT_EQ(job().state, JobState::kQueued);
  for (const std::uint32_t n : {1u, 2u, 3u, 4u}) reboot(n);
  EXPECT_EQ(attempt().number, Attempt{2});
}

}  // namespace
}  // namespace holdfast
