// Nodes that are ill: the ladder, its ends, and the way back.

#include "core/cluster/controller_fixture_test.h"
#include "core/health/ladder.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class HealthTest : public ControllerTest {
 protected:
  HealthTest() {
    make_cluster({.groups = one_group(4, 1)});
    submit(4, 4);
    run_to(100);
  }
  void find(std::uint32_t n, Action action, bool present = true,
            std::string kind = "gpu_recovery") {
    step(event::NodeFault{NodeId{n},
                          {.kind = std::move(kind),
                           .device = "0000:3b:00",
                           .cause = CauseClass::kAccelerator,
                           .action = action,
                           .line = "NVML: GPU recovery action 1"},
                          present});
  }
  void over(std::uint32_t n, std::string kind = "gpu_recovery") {
    step(event::NodeFaultCleared{NodeId{n}, std::move(kind), "0000:3b:00"});
  }
  void reset_done(std::uint32_t n, bool ok = true) {
    step(event::DevicesReset{NodeId{n}, ok, ok ? "done" : "in use"});
  }
  void repair_late(std::uint32_t n) {
    now_ = now_ + kRebootTimeout;
    step(event::TimerFired{
        {TimerKind::kRepair, {}, Attempt{node(n).health.repairs_made}, NodeId{n}}});
  }
  // The machine restarts: another process joins under its id.
  void reboot(std::uint32_t n) {
    step(event::NodeJoined{
        {.node = NodeId{n}, .address = "10.0.0." + std::to_string(n), .pid = node(n).pid + 1}});
  }
  // Found, drained, and at work elsewhere.
  void cure(std::uint32_t n, Action action) {
    find(n, action);
    if (job().state == JobState::kRecovering) {
      drain_all();
      ranks_started();
    }
  }
};

TEST_F(HealthTest, ADeviceIsResetAndTheNodeComesBackAsASpare) {
  find(3, Action::kResetDevice);
  EXPECT_EQ(node(3).state, NodeState::kCordoned);
  EXPECT_EQ(place(5), 3u);
  EXPECT_THAT(told<server_message::ResetDevices>(), IsEmpty()) << "its ranks still live";
  drain_all();
  const auto orders = sent_to<server_message::ResetDevices>(3);
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_THAT(orders[0].devices, ElementsAre("0000:3b:00"));
  EXPECT_EQ(node(3).state, NodeState::kResetting);
  EXPECT_THAT(asked<effect::Terminate>(), IsEmpty());
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty()) << "it comes back";
  EXPECT_EQ(job().last_verdict->action, Action::kResetDevice);
  EXPECT_THAT(job().last_verdict->nodes, ElementsAre(NodeId{3}));
  EXPECT_THAT(job().last_verdict->summary, HasSubstr("gpu_recovery on 0000:3b:00"));
  EXPECT_THAT(started(), ElementsAre(1, 2, 5, 4));
  reset_done(3);
  EXPECT_EQ(node(3).state, NodeState::kHealthy);
  EXPECT_EQ(place(3), 0u);
  EXPECT_EQ(node(3).health.due, Action::kNone);
  EXPECT_THAT(node(3).health.repairs, SizeIs(1));
  EXPECT_THAT(node(3).health.faults, SizeIs(1)) << "what was found is kept, as history";
  EXPECT_FALSE(node(3).health.faults[0].present);
}

TEST_F(HealthTest, BackAgainItClimbsToAReplacement) {
  cure(3, Action::kResetDevice);
  reset_done(3);
  find(3, Action::kResetDevice);
  EXPECT_EQ(node(3).state, NodeState::kRebooting) << "a spare: nothing to drain";
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(3));
  EXPECT_THAT(node(3).reason, HasSubstr("s after reset_device"));
  step(event::NodeJoined{{.node = NodeId{3}, .pid = node(3).pid}});
  EXPECT_EQ(node(3).state, NodeState::kRebooting) << "the old process, which is about to end";
  reboot(3);
  EXPECT_EQ(node(3).state, NodeState::kHealthy);
  find(3, Action::kResetDevice);
  EXPECT_EQ(node(3).state, NodeState::kReplacing);
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(3));
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6));
}

TEST_F(HealthTest, ACureThatFailsOrIsLateTakesTheNextRung) {
  cure(3, Action::kResetDevice);
  reset_done(3, false);
  EXPECT_EQ(node(3).state, NodeState::kRebooting);
  EXPECT_THAT(node(3).reason, HasSubstr("the reset failed: in use"));
  repair_late(3);
  EXPECT_EQ(node(3).state, NodeState::kReplacing);
  // A timer of an earlier repair, and answers that nobody waits for.
  step(event::TimerFired{{TimerKind::kRepair, {}, Attempt{1}, NodeId{3}}});
  reset_done(3);
  EXPECT_EQ(node(3).state, NodeState::kReplacing);
}

TEST_F(HealthTest, AfterARestartOfTheControlPlaneCuresGoOn) {
  cure(3, Action::kResetDevice);
  step(event::ServerStarted{});
  EXPECT_THAT(told<server_message::ResetDevices>(), ElementsAre(3));
  reset_done(3, false);
  step(event::ServerStarted{});
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(3));
}

TEST_F(HealthTest, ANodeThatIsLostInItsCureIsLost) {
  cure(3, Action::kResetDevice);
  lose({3});
  EXPECT_EQ(node(3).state, NodeState::kGone);
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6));
}

TEST_F(HealthTest, WhatTouchesNoWorkIsKeptAndIsOverByItself) {
  find(2, Action::kNone, true, "gpu_rows_pending");
  EXPECT_EQ(node(2).state, NodeState::kHealthy);
  EXPECT_EQ(job().state, JobState::kRunning);
  ASSERT_THAT(node(2).health.faults, SizeIs(1));
  EXPECT_TRUE(node(2).health.faults[0].present);
  over(2, "gpu_rows_pending");
  EXPECT_FALSE(node(2).health.faults[0].present);
  over(2, "gpu_rows_pending");  // told twice
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(HealthTest, AnObstacleKeepsNewWorkAwayUntilItIsOver) {
  find(2, Action::kRestartOnOtherNodes, true, "gpu_hot");
  EXPECT_EQ(node(2).state, NodeState::kSuspect);
  EXPECT_EQ(place(5), 2u);
  EXPECT_EQ(job().state, JobState::kRunning) << "what runs goes on";
  raise_and_drain("ValueError");
  EXPECT_THAT(started(), ElementsAre(1, 5, 3, 4));
  over(2, "gpu_hot");
  EXPECT_EQ(node(2).state, NodeState::kHealthy);
  EXPECT_THAT(audit("node.healed"), HasSubstr("gpu_hot"));
}

TEST_F(HealthTest, AnObstacleOnMostNodesIsNoReasonToStandStill) {
  for (const std::uint32_t n : {1u, 2u, 3u, 4u})
    find(n, Action::kRestartOnOtherNodes, true, "link_down");
  EXPECT_TRUE(controller_.state().breaker.open);
  EXPECT_EQ(node(4).state, NodeState::kHealthy);
  EXPECT_EQ(job().state, JobState::kRunning);
}

TEST_F(HealthTest, WhatTheBreakerKeptIsWellWhenItsFaultIsOver) {
  for (const std::uint32_t n : {1u, 2u, 3u}) find(n, Action::kResetDevice);
  ASSERT_EQ(node(3).state, NodeState::kSuspect);
  over(3);
  EXPECT_EQ(node(3).state, NodeState::kHealthy);
  EXPECT_EQ(node(3).health.due, Action::kNone);
}

TEST_F(HealthTest, ALemonGoesAndTheCountIsSaid) {
  for (int i = 0; i < 3; ++i) {
    step(event::NodeFault{NodeId{5},
                          {.kind = "xid",
                           .code = 48,
                           .device = "0000:0" + std::to_string(i) + ":00",
                           .action = Action::kResetDevice,
                           .line = "NVRM: Xid"}});
    ASSERT_EQ(node(5).state, NodeState::kResetting);
    reset_done(5);
    now_ = now_ + minutes(60);
  }
  find(5, Action::kResetDevice);
  EXPECT_EQ(node(5).state, NodeState::kReplacing);
  EXPECT_THAT(node(5).reason, HasSubstr("repaired 3 times within a week"));
}

}  // namespace
}  // namespace holdfast
