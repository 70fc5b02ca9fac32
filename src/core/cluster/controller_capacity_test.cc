// A provider that has no machine to give now.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/cluster/controller_fixture_test.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class CapacityTest : public ControllerTest {
 protected:
  void make(std::uint32_t count, bool is_continuous = false, std::uint32_t count_min = 0) {
    ClusterSpec spec{.name = "test", .groups = one_group(count), .is_continuous = is_continuous};
    spec.groups[0].count_min = count_min;
    step(event::ClusterMade{spec});
  }
  void no_machine_for(std::vector<std::uint32_t> nodes) {
    for (const std::uint32_t n : nodes)
      step(event::CapacityMissing{{NodeId{n}}, "2 of 2 hosts serve nodes"});
  }
  void gone(std::uint32_t n) { step(event::NodesLost{{NodeId{n}}, "given back", true}); }
  Duration until_asked_again() const { return timers_.at(timer_) - now_; }
  void ask_again() {
    now_ = timers_.at(timer_);
    step(event::TimerFired{timer_});
  }
  const ClusterState& state() const { return controller_.state(); }

  const TimerId timer_{.kind = TimerKind::kNoCapacity, .attempt = Attempt{1}};
};

TEST_F(CapacityTest, IsNoFailureOfAMachineAndIsAskedForAgainUnderTheSameId) {
  make(4, true);
  join(1);
  no_machine_for({2, 3, 4});
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_EQ(state().groups[0].provisioning_failures, 0u);
  EXPECT_EQ(state().groups[0].failure, "no capacity: 2 of 2 hosts serve nodes");
  EXPECT_THAT(node(3).reason, StartsWith("no capacity"));
  ask_again();
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(2u, 3u, 4u));
  join(2);
  EXPECT_EQ(place(2), 2u);
  no_machine_for({3, 4});
  EXPECT_EQ(state().nodes_made, 4u);
  ask_again();
  join(3);
  join(4);
  EXPECT_EQ(state().groups[0].failure, "");
  EXPECT_EQ(state().groups[0].tries_without_capacity, 0u);
}

TEST_F(CapacityTest, TheTimeToTheNextTryGrowsToTenMinutes) {
  make(2, true);
  join(1);
  Duration before;
  for (int i = 0; i < 12; ++i) {
    no_machine_for({2});
    const Duration pause = until_asked_again();
    EXPECT_GE(pause, seconds(30));
    EXPECT_LE(pause, minutes(10));
    EXPECT_GE(pause + pause, before) << "of a time that doubles";
    before = pause;
    ask_again();
  }
  EXPECT_GE(before, minutes(5));
}

TEST_F(CapacityTest, PeopleAreToldOnce) {
  make(3, true);
  join(1);
  step(event::CapacityMissing{{NodeId{2}}, "all 1 taken"});
  EXPECT_THAT(audit("pool.not_refilled"), HasSubstr("n2: no capacity: all 1 taken"));
  step(event::CapacityMissing{{NodeId{3}}, "all 1 taken"});
  EXPECT_EQ(audit("pool.not_refilled"), "");
  ask_again();
  step(event::CapacityMissing{{NodeId{2}}, "all 1 taken"});
  EXPECT_EQ(audit("pool.not_refilled"), "");
  step(event::CapacityMissing{{NodeId{3}}, "gpu-02 rests"});
  EXPECT_THAT(audit("node.no_capacity"), HasSubstr("gpu-02 rests"));
}

TEST_F(CapacityTest, AMachineThatIsGivenBackIsAskedForAtOnce) {
  make(2);
  join(1);
  join(2);
  step(event::NodeReplaceAsked{NodeId{1}, "admin"});
  no_machine_for({3});
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  gone(1);
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(3u));
  join(3);
  EXPECT_EQ(place(3), 1u);
}

TEST_F(CapacityTest, SoItIsWhenAPersonBringsOneOrTheControlPlaneIsBack) {
  make(2, true);
  join(1);
  no_machine_for({2});
  step(event::NodeAddAsked{"admin"});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(2u, 3u));
  no_machine_for({2, 3});
  step(event::ServerStarted{});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(2u, 3u));
  no_machine_for({2});
  ASSERT_TRUE(timers_.contains(timer_));
}

TEST_F(CapacityTest, WithoutContinuousProvisioningAClusterFailsUntilTheyCome) {
  make(3);
  no_machine_for({3});
  EXPECT_EQ(state().phase, ClusterPhase::kFailed);
  EXPECT_THAT(state().failure, HasSubstr("group 'workers': no capacity: 2 of 2"));
  join(1);
  join(2);
  EXPECT_EQ(state().phase, ClusterPhase::kFailed);
  ask_again();
  join(3);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
}

TEST_F(CapacityTest, TheMinimumIsEnoughThere) {
  make(3, false, 2);
  no_machine_for({3});
  EXPECT_EQ(state().phase, ClusterPhase::kCreating) << "the others still come";
  join(1);
  join(2);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
}

TEST_F(CapacityTest, AnUpdateWithoutCapacityEndsWithWhatThereIs) {
  make(1);
  join(1);
  ClusterSpec spec = state().spec;
  spec.groups[0].count = 2;
  step(event::ClusterUpdateAsked{spec, "admin"});
  no_machine_for({2});
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_THAT(state().failure, HasSubstr("no capacity"));
  // Made smaller again: it is not waited for any more.
  spec.groups[0].count = 1;
  step(event::ClusterUpdateAsked{spec, "admin"});
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(2u));
  EXPECT_EQ(state().groups[0].failure, "");
  step(event::CapacityMissing{{NodeId{2}}, "none"});
  EXPECT_EQ(node(2).state, NodeState::kGone);
}

TEST_F(CapacityTest, AJobDoesNotWaitForMachinesThatThereAreNot) {
  make(3, true);
  join(1);
  join(2);
  submit(2, 3);
  EXPECT_THAT(started(), IsEmpty()) << "the third one comes";
  no_machine_for({3});
  step(event::NodeAddAsked{"admin"});
  no_machine_for({3, 4});
  EXPECT_EQ(job().state, JobState::kStarting);
  EXPECT_EQ(attempt().nodes.size(), 2u);
}

}  // namespace
}  // namespace holdfast
