// The cluster and its nodes: bringing up, losing, replacing, the circuit breaker. Each row of the
// fault table that is about nodes; those about jobs are in controller_recovery_test.cc.

#include <csignal>

#include "core/cluster/controller_fixture_test.h"

namespace holdfast {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// --- bringing up

TEST_F(ControllerTest, AClusterIsProvisionedAndAJobWaitsForIt) {
  step(event::ClusterMade{{.groups = one_group(2, 1)}});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(1, 2, 3));
  submit(2, 2);
  EXPECT_EQ(job().state, JobState::kQueued);
  EXPECT_THAT(job().reason, HasSubstr("2 are being provisioned"));
  join(1);
  EXPECT_THAT(started(), IsEmpty());
  join(2);
  EXPECT_THAT(started(), ElementsAre(1, 2));
  EXPECT_EQ(job().state, JobState::kStarting);
  ranks_started();
  EXPECT_EQ(job().state, JobState::kRunning);
}

TEST_F(ControllerTest, TheRanksAreToldWhereTheyStandAndWhereTheyMeet) {
  make_cluster({.groups = one_group(2)});
  submit(2, 2);
  std::vector<std::uint32_t> positions;
  for (const Effect& effect : effects_) {
    const auto* send = std::get_if<effect::Send>(&effect);
    if (send == nullptr) continue;
    const auto* start = std::get_if<server_message::StartRanks>(&send->message);
    if (start == nullptr) continue;
    positions.push_back(start->group_rank);
    EXPECT_EQ(start->master_address, "10.0.0.1");
    EXPECT_EQ(start->master_port, 20000);
    EXPECT_EQ(start->world_size(), 2u);
  }
  EXPECT_THAT(positions, ElementsAre(0, 1));
}

// The port of the first node has moved on when a server that was killed in between sends anew.
TEST_F(ControllerTest, WhoIsToldLateIsToldTheSamePlaceToMeet) {
  make_cluster({.groups = one_group(2)});
  submit(2, 2);
  step(event::RanksStarted{NodeId{1}, {kJob, attempt().number, {}}});
  step(event::RendezvousMoved{NodeId{1}, 20001});
  step(event::NodeJoined{{.node = NodeId{1},
                          .address = "10.0.0.1",
                          .rendezvous_port = 20001,
                          .attempts = {{.job = kJob, .attempt = attempt().number}}}});
  join(2);
  const auto told = sent_to<server_message::StartRanks>(2);
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].master_port, 20000);
}

TEST_F(ControllerTest, AJobOfOneGroupGetsItsNodesOnly) {
  auto groups = one_group(2);
  groups.push_back({.name = "large", .count = 2});
  make_cluster({.groups = groups});
  JobSpec spec{.name = "gpt", .instance_group = "large", .command = {"train"}};
  spec.nodes_min = spec.nodes_max = 3;
  EXPECT_THAT(controller_.check(event::JobSubmitted{spec}).error().text(),
              HasSubstr("group 'large' has 2"));
  spec.instance_group = "larg";
  EXPECT_THAT(controller_.check(event::JobSubmitted{spec}).error().text(),
              HasSubstr("there is no group 'larg'; give one of 'workers', 'large'"));
  spec.instance_group = "large";
  spec.nodes_min = 1;
  step(event::JobSubmitted{spec});
  EXPECT_THAT(attempt().nodes, ElementsAre(NodeId{3}, NodeId{4}));
  run_to(3);
  progress(4, 2, 4);
  EXPECT_EQ(attempt().planned, "") << "free nodes of another group are no reason to grow";
}

TEST_F(ControllerTest, OfTwoSparesTheOneThatIsLikeTheOthersTakesThePlace) {
  ClusterSpec spec{.groups = one_group(3, 2)};
  spec.name = "test";
  step(event::ClusterMade{spec});
  for (std::uint32_t n = 1; n <= 5; ++n)
    step(event::NodeJoined{{.node = NodeId{n},
                            .address = "10.0.0." + std::to_string(n),
                            .rendezvous_port = 20000,
                            .software = {{"driver", n == 4 ? "535" : "550"}}}});
  lose({1});
  EXPECT_EQ(node(5).place, 1u);
  lose({2});
  EXPECT_EQ(node(4).place, 2u) << "a node that differs is better than none";
  submit(3, 3);
  EXPECT_THAT(job().reason, HasSubstr("n4 has driver 535, where"));
}

TEST_F(ControllerTest, ANameIsTakenUntilItsJobHasEnded) {
  make_cluster({.groups = one_group(1)});
  submit(1, 1);
  const event::JobSubmitted again{job().spec};
  EXPECT_EQ(controller_.check(again).error().code, Errc::kNameExists);
  step(again);
  EXPECT_THAT(controller_.state().jobs, SizeIs(1));
  run_to(1);
  exit_rank(0, {});
  EXPECT_EQ(job().state, JobState::kSucceeded);
  EXPECT_TRUE(controller_.check(again).ok());
  step(again);
  EXPECT_EQ(controller_.find_job("gpt")->id, JobId{2});
}

TEST_F(ControllerTest, ARequestTokenTwiceIsOneJob) {
  make_cluster({.groups = one_group(1)});
  const event::JobSubmitted request{{.name = "gpt", .command = {"true"}, .request_token = "t1"}};
  step(request);
  EXPECT_TRUE(controller_.check(request).ok());
  step(request);
  EXPECT_THAT(controller_.state().jobs, SizeIs(1));
  EXPECT_EQ(controller_.find_job_by_token("t1")->id, kJob);
}

TEST_F(ControllerTest, RequestsThatCannotBeMetAreRefusedAndChangeNothing) {
  make_cluster({.groups = one_group(2)});
  const auto code = [&](const Event& request) {
    const std::uint64_t before = controller_.digest();
    const Errc errc = controller_.check(request).error().code;
    step(request);
    EXPECT_EQ(controller_.digest(), before);
    return errc;
  };
  EXPECT_EQ(code(event::JobSubmitted{{.name = "big", .nodes_min = 3, .nodes_max = 3}}),
            Errc::kTooFewNodes);
  EXPECT_EQ(code(event::JobStopAsked{JobId{9}, "me"}), Errc::kNotFound);
  EXPECT_EQ(code(event::NodeReplaceAsked{NodeId{9}, "me"}), Errc::kNotFound);
  EXPECT_EQ(code(event::BreakerCloseAsked{"me"}), Errc::kWrongState);
}

TEST_F(RunningJobTest, SucceedsWhenAllRanksEndWithStatusZero) {
  for (std::uint32_t rank = 0; rank < 4; ++rank) exit_rank(rank, {});
  EXPECT_EQ(job().state, JobState::kSucceeded);
  EXPECT_EQ(job().exit_code, 0);
  EXPECT_THAT(told<server_message::ForgetJob>(), SizeIs(5));
}

// --- a node goes

TEST_F(RunningJobTest, AVanishedNodesPlaceGoesToTheSpareAndThePoolIsRefilled) {
  lose({2});
  EXPECT_EQ(node(2).state, NodeState::kGone);
  EXPECT_EQ(place(5), 2u);
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6));
  EXPECT_THAT(stopped(), ElementsAre(1, 3, 4));
  drain_all();
  EXPECT_THAT(started(), ElementsAre(1, 5, 3, 4)) << "the spare takes the lost one's rank";
  EXPECT_EQ(job().last_verdict->cause, CauseClass::kHost);
  EXPECT_EQ(job().attempts_without_progress, 0u);
  join(6);
  EXPECT_EQ(place(6), 0u);
  EXPECT_THAT(told<server_message::WarmUp>(), ElementsAre(6));
}

TEST_F(RunningJobTest, AThawedNodeIsFenced) {
  lose({2});
  EXPECT_THAT(told<server_message::Fenced>(), ElementsAre(2))
      << "it may thaw on an unbroken stream";
  drain_all();
  const Attempt now_on = attempt().number;
  join(2, {{.job = kJob, .attempt = Attempt{1}, .running = {1}}});
  EXPECT_THAT(told<server_message::Fenced>(), ElementsAre(2));
  EXPECT_THAT(told<server_message::Welcome>(), IsEmpty());
  // Nothing that it says counts.
  step(event::Progressed{kJob, Attempt{1}, NodeId{2}, {.step = 999, .steps_this_attempt = 9}});
  step(event::RankExited{NodeId{2}, kJob, Attempt{1}, {.rank = 1, .signal = SIGKILL}});
  xid(2, 79, Action::kReplaceNode);
  EXPECT_THAT(effects_, IsEmpty());
  EXPECT_EQ(attempt().number, now_on);
  EXPECT_LT(job().step_reached, 999u);
}

TEST_F(RunningJobTest, AFixedSizeJobWaitsForANodeAndSaysSo) {
  lose({2, 3});
  drain_all();
  EXPECT_EQ(job().state, JobState::kQueued);
  EXPECT_THAT(job().reason, HasSubstr("waits for 1 more node(s): 3 of 4"));
  EXPECT_THAT(job().reason, HasSubstr("being provisioned"));
  EXPECT_THAT(incident().story.back().text, HasSubstr("waits for 1 more node(s)"));
  join(6);
  EXPECT_THAT(started(), SizeIs(4));
  run_to(101);
  EXPECT_EQ(incident().state, IncidentState::kRecovered);
  EXPECT_THAT(controller_.state().incidents, SizeIs(1));
}

TEST_F(ControllerTest, AJobWithAMinimumGoesOnSmallerAndGrowsAfterACommit) {
  make_cluster({.groups = one_group(4, 1)});
  submit(2, 4);
  run_to(100);
  lose({2, 3});
  drain_all();
  EXPECT_THAT(started(), ElementsAre(1, 5, 4));
  ranks_started();
  progress(101, 1);
  join(6);
  EXPECT_EQ(job().state, JobState::kRunning) << "no restart in the middle of uncommitted work";
  progress(110, 10, 110);
  EXPECT_EQ(job().state, JobState::kRecovering);
  drain_all();
  EXPECT_THAT(started(), SizeIs(4));
  EXPECT_EQ(job().last_verdict->cause, CauseClass::kScheduling);
  EXPECT_EQ(job().attempts_without_progress, 0u);
}

TEST_F(ControllerTest, TheProviderHasAnEndAndTheOperatorCanBringMore) {
  make_cluster({.groups = one_group(2, 1), .machines_max = 3});
  submit(2, 2);
  run_to(1);
  lose({1});
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  EXPECT_THAT(audit("pool.not_refilled"), HasSubstr("holdfast node add"));
  drain_all();
  ranks_started();
  now_ = now_ + seconds(11);  // past the breaker's window
  lose({2});
  drain_all();
  EXPECT_THAT(job().reason, HasSubstr("holdfast node add"));
  step(event::NodeAddAsked{"operator"});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(4));
  join(4);
  EXPECT_THAT(started(), ElementsAre(3, 4));
}

TEST_F(ControllerTest, MachinesThatNeverJoinAreNotBoughtForEver) {
  make_cluster({.groups = one_group(1, 1)});
  lose({2});
  for (std::uint32_t n = 3; n <= 5; ++n) lose({n});
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  EXPECT_THAT(audit("pool.not_refilled"), HasSubstr("3 machines in a row"));
}

// --- snapshots in memory

TEST_F(RunningJobTest, ALostNodesSnapshotsAreRestoredFromWhoKeptTheCopy) {
  EXPECT_THAT(attempt().replicas, ElementsAre(NodeId{2}, NodeId{3}, NodeId{4}, NodeId{1}));
  lose({2});
  drain_all();
  for (const std::uint32_t n : {1u, 5u, 3u, 4u}) {
    const auto starts = sent_to<server_message::StartRanks>(n);
    ASSERT_EQ(starts.size(), 1u);
    EXPECT_THAT(starts[0].replica_to, Not(IsEmpty()));
    if (n == 5)
      EXPECT_THAT(starts[0].restore_from, ElementsAre("10.0.0.3:1"));
    else if (n == 1)  // its copy was on the lost node
      EXPECT_THAT(starts[0].restore_from, IsEmpty());
    else
      EXPECT_THAT(starts[0].restore_from, SizeIs(1)) << "a second copy, if its own is damaged";
  }
  EXPECT_EQ(sent_to<server_message::StartRanks>(4)[0].replica_to, "10.0.0.5:1");
}

TEST_F(RunningJobTest, AnAttemptThatMadeNoStepHasNoSnapshots) {
  lose({2});
  drain_all();
  ranks_started();
  exit_rank(0, {.signal = SIGKILL});  // before node 5 had anything
  drain_all();
  EXPECT_THAT(sent_to<server_message::StartRanks>(5)[0].restore_from, ElementsAre("10.0.0.3:1"));
}

TEST_F(ControllerTest, WithAnotherNumberOfNodesSnapshotsAreOfNoUse) {
  make_cluster({.groups = one_group(3, 0)});
  submit(2, 3);
  run_to(100);
  lose({2});
  drain_all();
  for (const auto& start : sent_to<server_message::StartRanks>(3))
    EXPECT_THAT(start.restore_from, IsEmpty());
}

// --- faults of devices

TEST_F(RunningJobTest, Xid79CordonsAndReplacesTheNode) {
  xid(3, 79, Action::kReplaceNode);
  EXPECT_EQ(node(3).state, NodeState::kCordoned);
  EXPECT_EQ(place(5), 3u);
  EXPECT_THAT(asked<effect::Terminate>(), IsEmpty()) << "its ranks still live";
  drain_all();
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(3));
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6));
  EXPECT_THAT(started(), ElementsAre(1, 2, 5, 4));
  EXPECT_THAT(job().last_verdict->nodes, ElementsAre(NodeId{3}));
  lose({3});
  EXPECT_EQ(node(3).state, NodeState::kGone);
  EXPECT_EQ(job().state, JobState::kStarting);
}

TEST_F(RunningJobTest, Xid13And31TouchNoNode) {
  for (const std::int32_t code : {13, 31}) {
    xid(3, code, Action::kNone);
    EXPECT_EQ(node(3).state, NodeState::kHealthy);
    EXPECT_EQ(job().state, JobState::kRunning);
  }
  xid(3, 9999, Action::kAskOperator);
  EXPECT_EQ(node(3).state, NodeState::kHealthy);
  EXPECT_THAT(audit("node.fault"), HasSubstr("asks for a person"));
}

TEST_F(RunningJobTest, ANodeCanBeReplacedByHand) {
  step(event::NodeReplaceAsked{NodeId{1}, "operator"});
  EXPECT_EQ(place(5), 1u);
  drain_all();
  EXPECT_THAT(started(), ElementsAre(5, 2, 3, 4));
}

TEST_F(RunningJobTest, DownEndsEverythingAndStartsNothing) {
  submit(1, 1, "next");
  xid(1, 79, Action::kReplaceNode);
  step(event::DownAsked{"operator"});
  EXPECT_EQ(job().state, JobState::kStopped);
  EXPECT_EQ(job(JobId{2}).state, JobState::kStopped);
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(started(), IsEmpty());
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  step(event::ClusterMade{{.groups = one_group(1)}});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6));
}

// --- the circuit breaker

TEST_F(RunningJobTest, ManySilentAtOnceAreNotTakenOut) {
  lose({1, 2, 3});
  EXPECT_TRUE(controller_.state().breaker.open);
  EXPECT_THAT(audit("breaker.open"), HasSubstr("3 of 5"));
  for (const std::uint32_t n : {1u, 2u, 3u}) EXPECT_EQ(node(n).state, NodeState::kSuspect);
  EXPECT_EQ(job().state, JobState::kRunning);
  EXPECT_THAT(asked<effect::Provision>(), IsEmpty());
  // One that is heard of again is well.
  join(1, {{.job = kJob, .attempt = Attempt{1}, .running = {0}}});
  EXPECT_EQ(node(1).state, NodeState::kHealthy);
  EXPECT_EQ(job().state, JobState::kRunning);
  // The operator has looked: those that are still silent are lost.
  step(event::BreakerCloseAsked{"operator"});
  EXPECT_EQ(node(2).state, NodeState::kGone);
  EXPECT_EQ(node(3).state, NodeState::kGone);
  EXPECT_THAT(asked<effect::Provision>(), SizeIs(2));
  EXPECT_EQ(job().state, JobState::kRecovering);
}

TEST_F(RunningJobTest, XidsOnManyNodesInARowOpenTheBreaker) {
  xid(1, 79, Action::kReplaceNode);
  xid(2, 79, Action::kReplaceNode);
  xid(3, 79, Action::kReplaceNode);
  EXPECT_TRUE(controller_.state().breaker.open);
  EXPECT_EQ(node(1).state, NodeState::kCordoned);
  EXPECT_EQ(node(3).state, NodeState::kSuspect);
  drain_all();
  EXPECT_EQ(job().state, JobState::kQueued);
  EXPECT_THAT(job().reason, HasSubstr("suspect"));
  step(event::BreakerCloseAsked{"operator"});
  EXPECT_THAT(node(3).state, AnyOf(NodeState::kCordoned, NodeState::kReplacing));
}

TEST_F(RunningJobTest, TheSameFaultsFarApartDoNot) {
  for (const std::uint32_t n : {1u, 2u, 3u}) {
    xid(n, 79, Action::kReplaceNode);
    drain_all();
    join(5 + n);
    now_ = now_ + seconds(11);
  }
  EXPECT_FALSE(controller_.state().breaker.open);
}

TEST_F(RunningJobTest, MachinesThatHaveEndedAreReplacedHoweverManyTheyAre) {
  step(event::NodesLost{{NodeId{1}, NodeId{2}, NodeId{3}}, "their machines ended", true});
  EXPECT_FALSE(controller_.state().breaker.open);
  for (const std::uint32_t n : {1u, 2u, 3u}) EXPECT_EQ(node(n).state, NodeState::kGone);
  EXPECT_EQ(asked<effect::Provision>().size(), 3u);
}

TEST_F(ControllerTest, TheOnlyNodeOfAClusterIsNoMassFailure) {
  make_cluster({.groups = one_group(1)});
  submit(1, 1);
  lose({1});
  EXPECT_FALSE(controller_.state().breaker.open);
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(2));
  join(2);
  EXPECT_THAT(started(), ElementsAre(2));
}

}  // namespace
}  // namespace holdfast
