// Software updates that are rolled back. How they go forward: controller_groups_test.cc.

#include "core/cluster/controller_fixture_test.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

// Two nodes and a spare, which work with the files "old" of their group's scripts.
class RollbackTest : public ControllerTest {
 protected:
  RollbackTest() {
    make_cluster({.groups = {scripted("on_create.sh")}});
    for (const std::uint32_t n : {1, 2, 3}) work(n, "old");
  }
  static InstanceGroup scripted(const std::string& program) {
    InstanceGroup group{.number = 1, .name = "workers", .count = 2, .spares = 1};
    group.lifecycle = {.source = "/srv/scripts", .on_create = program};
    return group;
  }
  const ClusterState& state() const { return controller_.state(); }
  const SoftwareUpdate& update() const { return *state().software_update; }
  const GroupRecord& group() const { return state().groups.front(); }

  void give(std::uint32_t n, const std::string& files, const std::string& error = "") {
    step(event::LifecycleFilesRead{NodeId{n}, node(n).lifecycle.run, files, error});
  }
  void report(std::uint32_t n, bool ok) {
    step(event::LifecycleReported{
        NodeId{n}, {.run = node(n).lifecycle.run, .ok = ok, .tries = 3, .reason = "status 5"}});
  }
  // Its scripts run with these files.
  void work(std::uint32_t n, const std::string& files, bool ok = true) {
    ASSERT_EQ(node(n).state, NodeState::kLifecycleScript) << n;
    give(n, files);
    report(n, ok);
  }
  void restart(std::uint32_t n) { step(event::NodeJoined{{.node = NodeId{n}, .pid = ++pid_}}); }
  void ask(std::uint32_t batch, Deployment deployment = {}) {
    deployment.batch.nodes = batch;
    step(event::SoftwareUpdateAsked{{}, deployment, "admin"});
  }
  void fire_update() {
    const TimerId timer{.kind = TimerKind::kUpdate};
    ASSERT_TRUE(timers_.contains(timer));
    now_ = std::max(now_, timers_.at(timer));
    timers_.erase(timer);
    step(event::TimerFired{timer});
  }
  // The spare works with "new", the next node does not.
  void fail_second() {
    ask(1);
    restart(3);
    work(3, "new");
    fire_update();
    restart(1);
    work(1, "new", false);
  }
  std::string files_of(std::uint32_t n) const {
    for (const LifecycleVersion& version : group().versions)
      if (version.nodes.contains(NodeId{n})) return version.files;
    return {};
  }
  void raise_alarm(std::uint32_t n) {
    step(event::NodeFault{NodeId{n}, {.kind = "x", .action = Action::kAskOperator, .line = "y"}});
  }

  std::int32_t pid_ = 100;
};

TEST_F(RollbackTest, WhereTheNewScriptsFailTheOldOnesRunAgain) {
  fail_second();
  EXPECT_THAT(asked<effect::Terminate>(), IsEmpty()) << "the machine is not to blame";
  EXPECT_EQ(node(1).state, NodeState::kLifecycleScript);
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kRollingBack);
  EXPECT_EQ(state().phase, ClusterPhase::kSystemUpdating);
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(1, 3)) << "all at once when nobody said";
  for (const std::uint32_t n : {1, 3}) {
    restart(n);
    EXPECT_EQ(controller_.kept_version(node(n))->files, "old");
    work(n, "old");
  }
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kRolledBack);
  EXPECT_EQ(state().phase, ClusterPhase::kInService);
  EXPECT_THAT(audit("update.failed"), HasSubstr("n1 did not come back: its lifecycle scripts"));
  EXPECT_THAT(state().failure, HasSubstr("1 node(s) updated, 1 failed, 1 not touched"));
  EXPECT_THAT(state().failure, HasSubstr("2 went back to the former lifecycle scripts, 0 did not"));
  EXPECT_EQ(files_of(1) + files_of(2) + files_of(3), "oldoldold");
  EXPECT_EQ(node(2).updated, Instant{}) << "not touched";
}

TEST_F(RollbackTest, SomeAtATime) {
  ask(2, {.rollback_batch = {.nodes = 1}});
  restart(3);
  work(3, "new");
  restart(1);
  work(1, "new", false);
  fire_update();
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(1));
  restart(1);
  work(1, "old");
  fire_update();
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(3));
  restart(3);
  work(3, "old");
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kRolledBack);
}

TEST_F(RollbackTest, AnAlarmInTheWaitRollsBack) {
  ask(2, {.wait = minutes(10), .alarms = {"node.fault"}});
  for (const std::uint32_t n : {3, 1}) {
    restart(n);
    work(n, "new");
  }
  EXPECT_EQ(timers_.at({.kind = TimerKind::kUpdate}), now_ + minutes(10));
  raise_alarm(2);
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kRollingBack);
  EXPECT_THAT(update().failure, HasSubstr("alarm 'node.fault': n2"));
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(1, 3));
  EXPECT_EQ(update().not_touched, 1u);
}

TEST_F(RollbackTest, AnAlarmThatNobodyNamedChangesNothing) {
  ask(3, {.wait = minutes(10), .alarms = {"job.failed"}});
  raise_alarm(2);
  for (const std::uint32_t n : {1, 2, 3}) {
    restart(n);
    work(n, "new");
  }
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kSucceeded);
  EXPECT_THAT(group().versions, SizeIs(1)) << "nobody goes back to the old one any more";
  raise_alarm(1);
  EXPECT_EQ(update().state, SoftwareUpdateState::kSucceeded);
}

TEST_F(RollbackTest, WithAlarmsTheLastBatchIsWaitedForToo) {
  ask(3, {.wait = minutes(10), .alarms = {"node.fault"}});
  for (const std::uint32_t n : {1, 2, 3}) {
    restart(n);
    work(n, "new");
  }
  EXPECT_EQ(timers_.at({.kind = TimerKind::kUpdate}), now_ + minutes(10));
  raise_alarm(1);
  fire_update();
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(1, 2, 3));
}

TEST_F(RollbackTest, AnAlarmWaitsForTheBatchUnderWay) {
  ask(1, {.alarms = {"node.fault"}});
  raise_alarm(2);
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kInProgress);
  restart(3);
  work(3, "new");
  fire_update();
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(3)) << "back again, and no other one";
}

TEST_F(RollbackTest, ARestartOfTheControlPlaneGoesOnInEachPhase) {
  const auto server_restarts = [this] {
    timers_.clear();
    step(event::ServerStarted{});
    ASSERT_TRUE(timers_.contains({.kind = TimerKind::kUpdate}));
    fire_update();
  };
  ask(1);
  server_restarts();
  EXPECT_THAT(asked<effect::Reboot>(), IsEmpty()) << "one at a time";
  restart(3);
  server_restarts();
  work(3, "new");
  server_restarts();
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(1));
  restart(1);
  work(1, "new", false);
  server_restarts();
  EXPECT_EQ(update().state, SoftwareUpdateState::kRollingBack);
  restart(3);
  server_restarts();
  work(3, "old");
  restart(1);
  work(1, "old");
  server_restarts();
  EXPECT_EQ(update().state, SoftwareUpdateState::kRolledBack);
}

TEST_F(RollbackTest, OneThatCannotGoBackFailsIt) {
  fail_second();
  fire_update();
  restart(3);
  work(3, "old");
  restart(1);
  work(1, "old", false);
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(1)) << "now it may be the machine's fault";
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kFailed);
  EXPECT_THAT(state().failure, HasSubstr("1 went back to the former lifecycle scripts, 1 did not"));
}

TEST_F(RollbackTest, NewMachinesGetTheOldScriptsUntilTheNextUpdate) {
  fail_second();
  fire_update();
  for (const std::uint32_t n : {1, 3}) {
    restart(n);
    work(n, "old");
  }
  fire_update();
  lose({2});
  join(4);
  ASSERT_NE(controller_.kept_version(node(4)), nullptr);
  EXPECT_EQ(controller_.kept_version(node(4))->files, "old");
  work(4, "old");
  ask(3);
  EXPECT_EQ(controller_.kept_version(node(4)), nullptr) << "those of now";
  for (const std::uint32_t n : {1, 3, 4}) {
    restart(n);
    work(n, "newer");
  }
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kSucceeded);
}

TEST_F(RollbackTest, OtherScriptsThatAPersonAsksForAreTaken) {
  fail_second();
  fire_update();
  for (const std::uint32_t n : {1, 3}) {
    restart(n);
    work(n, "old");
  }
  fire_update();
  ASSERT_NE(controller_.kept_version(node(1)), nullptr);
  step(event::ClusterUpdateAsked{{.groups = {scripted("other.sh")}}, "admin", "", ""});
  EXPECT_EQ(controller_.kept_version(node(1)), nullptr);
}

TEST_F(RollbackTest, TheProgramsOfBeforeRunAgain) {
  step(event::ClusterUpdateAsked{{.groups = {scripted("other.sh")}}, "admin", "", ""});
  ask(1);
  restart(3);
  ASSERT_THAT(sent_to<server_message::RunLifecycle>(3), SizeIs(1));
  EXPECT_EQ(sent_to<server_message::RunLifecycle>(3)[0].on_create, "other.sh");
  work(3, "old", false);  // the same files, another program of them
  fire_update();
  restart(3);
  ASSERT_THAT(sent_to<server_message::RunLifecycle>(3), SizeIs(1));
  EXPECT_EQ(sent_to<server_message::RunLifecycle>(3)[0].on_create, "on_create.sh");
}

TEST_F(RollbackTest, AMachineThatCameMeanwhileGoesBackToo) {
  ask(1);
  lose({2});  // not one of the batch
  restart(3);
  work(3, "new");
  join(4);
  fire_update();
  work(4, "new");
  restart(1);
  lose({1});  // provisions 5
  join(5);
  fire_update();
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(3, 4));
  EXPECT_THAT(sent_to<server_message::RunLifecycle>(5), SizeIs(1)) << "begun before, so anew";
  EXPECT_EQ(node(5).lifecycle.run, 2u);
  work(5, "old");
  EXPECT_EQ(node(5).state, NodeState::kHealthy);
}

TEST_F(RollbackTest, WithoutScriptsThereIsNothingToGoBackTo) {
  step(event::DownAsked{"admin"});
  InstanceGroup bare{.number = 1, .name = "workers", .count = 3};
  step(event::ClusterMade{{.name = "bare", .groups = {bare}}});
  for (const std::uint32_t n : {4, 5, 6}) join(n);
  ask(1);
  restart(4);
  fire_update();
  lose({5});
  fire_update();
  EXPECT_THAT(asked<effect::Reboot>(), IsEmpty());
  EXPECT_EQ(update().state, SoftwareUpdateState::kFailed);
  EXPECT_THAT(state().failure, HasSubstr("groups without former lifecycle scripts"));
}

TEST_F(RollbackTest, OneThatDeepChecksHoldIsWaitedFor) {
  ask(2);
  for (const std::uint32_t n : {3, 1}) {
    restart(n);
    work(n, "new");
  }
  step(event::ChecksAsked{{NodeId{3}}, {CheckKind::kInstanceStress}, true, "admin"});
  ASSERT_EQ(node(3).state, NodeState::kDeepHealthCheck);
  fire_update();
  ASSERT_THAT(asked<effect::Reboot>(), ElementsAre(2));
  restart(2);
  work(2, "new", false);
  fire_update();
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(1, 2));
  for (const std::uint32_t n : {1, 2}) {
    restart(n);
    work(n, "old");
  }
  fire_update();
  EXPECT_EQ(update().state, SoftwareUpdateState::kRollingBack) << "until the checks are over";
}

TEST_F(RollbackTest, FilesThatCannotBeReadAreNoMachinesFault) {
  lose({3});
  join(4);
  give(4, "", "s3://b/p: 403 Forbidden");
  EXPECT_THAT(audit("node.lifecycle_waits"), HasSubstr("403 Forbidden"));
  EXPECT_THAT(group().failure, HasSubstr("403 Forbidden"));
  EXPECT_EQ(node(4).state, NodeState::kLifecycleScript);
  give(4, "", "s3://b/p: 403 Forbidden");
  EXPECT_THAT(audit("node.lifecycle_waits"), IsEmpty()) << "told once";
  give(4, "old");
  EXPECT_THAT(group().failure, IsEmpty());
}

TEST_F(RollbackTest, FilesOfAnotherRunAreNoNews) {
  step(event::LifecycleFilesRead{NodeId{1}, 1, "new", ""});
  EXPECT_EQ(files_of(1), "old") << "its scripts have ended";
  ask(1);
  restart(3);
  step(event::LifecycleFilesRead{NodeId{3}, 1, "new", ""});
  EXPECT_EQ(files_of(3), "old");
}

}  // namespace
}  // namespace holdfast
