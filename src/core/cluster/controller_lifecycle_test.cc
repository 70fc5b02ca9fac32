#include "core/cluster/controller_fixture_test.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Two nodes and a spare, whose group has scripts. They have come, and their scripts run.
class LifecycleTest : public ControllerTest {
 protected:
  LifecycleTest() {
    InstanceGroup group{.number = 1, .name = "workers", .count = 2, .spares = 1};
    group.lifecycle = {.source = "/srv/scripts", .on_create = "on_create.sh"};
    make_cluster({.groups = {group}});
  }
  void report(std::uint32_t n, bool ok, std::uint32_t run = 1) {
    step(event::LifecycleReported{NodeId{n},
                                  {.run = run,
                                   .ok = ok,
                                   .tries = 3,
                                   .reason = ok ? "" : "exit status 5",
                                   .log_tail = ok ? "" : "mount: no such host"}});
  }
  void finish_all() {
    for (const std::uint32_t n : {1, 2, 3}) report(n, true);
  }
};

TEST_F(LifecycleTest, ANodeWorksWhenItsScriptsHaveSucceeded) {
  EXPECT_EQ(node(3).state, NodeState::kLifecycleScript);
  EXPECT_THAT(sent_to<server_message::RunLifecycle>(3), SizeIs(1));
  submit(2, 2);
  EXPECT_THAT(started(), IsEmpty());
  report(1, true);
  EXPECT_EQ(node(1).state, NodeState::kHealthy);
  EXPECT_EQ(node(1).lifecycle.status, LifecycleStatus::kSucceeded);
  EXPECT_THAT(started(), IsEmpty());
  report(2, true);
  EXPECT_THAT(started(), ElementsAre(1, 2));
}

TEST_F(LifecycleTest, TheyComeBeforeDeepChecks) {
  step(event::DownAsked{"test"});
  InstanceGroup group{.number = 1, .name = "workers", .count = 1};
  group.lifecycle = {.source = "/srv/scripts", .on_init_complete = "init.sh"};
  ClusterSpec spec{.groups = {group}};
  spec.checks.on_start = {CheckKind::kInstanceStress};
  step(event::ClusterMade{spec});
  join(4);
  EXPECT_EQ(node(4).state, NodeState::kLifecycleScript);
  report(4, true);
  EXPECT_EQ(node(4).state, NodeState::kDeepHealthCheck);
}

TEST_F(LifecycleTest, AReportOfAnotherRunChangesNothing) {
  report(1, true, 2);
  EXPECT_EQ(node(1).state, NodeState::kLifecycleScript);
  report(1, true);
  report(1, false);
  EXPECT_EQ(node(1).state, NodeState::kHealthy) << "it has succeeded before";
}

TEST_F(LifecycleTest, AMachineOnWhichTheyFailIsReplacedOnce) {
  report(2, true);
  report(3, true);
  report(1, false);
  EXPECT_EQ(node(1).state, NodeState::kReplacing);
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(1));
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(4));
  EXPECT_EQ(place(3), 1u) << "the spare takes the place";
  EXPECT_THAT(audit("node.lifecycle_failed"), HasSubstr("no such host"));
  join(4);
  report(4, false);
  EXPECT_EQ(node(4).state, NodeState::kLifecycleScript) << "it is kept, to be looked at";
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  EXPECT_THAT(node(4).lifecycle.failure, HasSubstr("no such host"));
  EXPECT_THAT(node(4).reason, HasSubstr("exit status 5"));
  join(4);
  EXPECT_THAT(sent_to<server_message::RunLifecycle>(4), IsEmpty()) << "not until a person says so";
  lose({2});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(5)) << "others are replaced";
  join(5);
  report(5, false);
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6)) << "once each";
}

TEST_F(LifecycleTest, APersonHasItTriedOnAnotherMachine) {
  finish_all();
  lose({3});
  join(4);
  report(4, false);
  join(5);
  report(5, false);
  ASSERT_EQ(node(5).lifecycle.status, LifecycleStatus::kFailed);
  EXPECT_TRUE(controller_.check(event::NodeReplaceAsked{NodeId{5}, "operator"}).ok());
  step(event::NodeReplaceAsked{NodeId{5}, "operator"});
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(5));
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6));
  join(6);
  report(6, false);
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(7)) << "anew, with one more machine";
}

TEST_F(LifecycleTest, ARestartOfEitherSideAsksAgain) {
  step(event::ServerStarted{});
  EXPECT_THAT(told<server_message::RunLifecycle>(), ElementsAre(1, 2, 3));
  join(2);
  EXPECT_THAT(sent_to<server_message::RunLifecycle>(2), SizeIs(1));
  EXPECT_EQ(node(2).lifecycle.run, 1u) << "the same run";
}

TEST_F(LifecycleTest, AnAgentThatDiesInThemIsAskedAgainAndNotForEver) {
  finish_all();
  lose({3});
  const auto come_back = [&](std::uint32_t n) {
    step(event::NodeJoined{{.node = NodeId{n}, .pid = 5, .lifecycle_cut_off = 1}});
  };
  join(4);
  come_back(4);
  EXPECT_THAT(sent_to<server_message::RunLifecycle>(4), SizeIs(1));
  EXPECT_THAT(audit("node.lifecycle_cut_off"), HasSubstr("n4"));
  come_back(4);
  EXPECT_THAT(sent_to<server_message::RunLifecycle>(4), SizeIs(1));
  come_back(4);
  EXPECT_EQ(node(4).state, NodeState::kReplacing);
  EXPECT_THAT(audit("node.lifecycle_failed"), HasSubstr("3 times"));
}

TEST_F(LifecycleTest, ALateRunFails) {
  const TimerId timer{.kind = TimerKind::kLifecycle, .attempt = Attempt{1}, .node = NodeId{1}};
  ASSERT_TRUE(timers_.contains(timer));
  now_ = timers_.at(timer);
  step(event::TimerFired{timer});
  EXPECT_EQ(node(1).state, NodeState::kReplacing);
  report(2, true);
  step(
      event::TimerFired{{.kind = TimerKind::kLifecycle, .attempt = Attempt{1}, .node = NodeId{2}}});
  EXPECT_EQ(node(2).state, NodeState::kHealthy) << "a late timer";
}

TEST_F(LifecycleTest, AFaultMeanwhileIsCuredBeforeTheNodeWorks) {
  xid(1, 79, Action::kReplaceNode);
  EXPECT_EQ(node(1).state, NodeState::kLifecycleScript);
  report(1, true);
  EXPECT_EQ(node(1).state, NodeState::kReplacing);
}

TEST_F(LifecycleTest, MachinesThatDieInThemAreNotReplacedForEver) {
  report(1, true);
  report(2, true);
  lose({3});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(4));
  join(4);
  lose({4});
  join(5);
  lose({5});
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  EXPECT_THAT(audit("pool.not_refilled"), HasSubstr("3 machines"));
}

TEST_F(LifecycleTest, ARebootRunsThemNotAgain) {
  finish_all();
  xid(3, 95, Action::kRebootNode);
  ASSERT_EQ(node(3).state, NodeState::kRebooting);
  step(event::NodeJoined{{.node = NodeId{3}, .pid = 77}});
  EXPECT_EQ(node(3).state, NodeState::kHealthy);
  EXPECT_THAT(told<server_message::RunLifecycle>(), IsEmpty());
}

}  // namespace
}  // namespace holdfast
