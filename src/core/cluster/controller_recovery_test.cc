// A job in trouble: each row of the fault table that is about jobs, and faults on top of faults.

#include <csignal>

#include "core/cluster/controller_fixture_test.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// --- a rank dies

TEST_F(RunningJobTest, ARankThatIsKilledIsRestartedOnTheSameNodes) {
  exit_rank(2, {.signal = SIGKILL});
  EXPECT_EQ(job().state, JobState::kRecovering);
  EXPECT_THAT(stopped(), ElementsAre(1, 2, 3, 4));
  drain(1);
  drain(2);
  drain(3);
  EXPECT_THAT(started(), IsEmpty()) << "rank 3 may still live";
  drain(4);
  EXPECT_THAT(started(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(attempt().number, Attempt{2});
  ranks_started();
  progress(96, 1, {}, 95);
  EXPECT_EQ(incident().state, IncidentState::kRecovered);
  EXPECT_EQ(incident().steps_lost, 5u);
  for (const Phase phase : {Phase::kNoticed, Phase::kDrained, Phase::kDecided, Phase::kStarted,
                            Phase::kRestored, Phase::kFirstStep})
    EXPECT_TRUE(incident().phase(phase).has_value()) << word_of(phase);
}

TEST_F(RunningJobTest, TheSameExceptionInThreeAttemptsStopsTheJob) {
  raise_and_drain("ValueError");
  ranks_started();
  raise_and_drain("ValueError");
  ranks_started();
  EXPECT_EQ(job().state, JobState::kRunning);
  raise_and_drain("ValueError");
  EXPECT_EQ(job().state, JobState::kFailed);
  EXPECT_EQ(attempt().number, Attempt{3});
  EXPECT_NE(job().exit_code, 0);
  EXPECT_EQ(job().last_verdict->cause, CauseClass::kApplication);
  EXPECT_EQ(job().last_verdict->action, Action::kStopJob);
  EXPECT_THAT(job().reason, HasSubstr("rank 0 on n1 raised ValueError: in train.py"));
  EXPECT_EQ(incident().state, IncidentState::kFailed);
  EXPECT_THAT(controller_.state().incidents, SizeIs(1));
}

TEST_F(RunningJobTest, WhatRanksLeftIsOfTheTimeOfTheirEnd) {
  for (int round = 0; round < 2; ++round) {
    now_ = now_ + seconds(60);
    raise_and_drain("ValueError");
    ASSERT_FALSE(incident().verdicts.back().evidence.empty());
    for (const Evidence& evidence : incident().verdicts.back().evidence)
      EXPECT_EQ(evidence.at, incident().phase(Phase::kDrained)) << evidence.what;
    ranks_started();
  }
}

TEST_F(RunningJobTest, ProgressStartsTheCountAnew) {
  for (std::uint64_t round = 1; round <= 6; ++round) {
    raise_and_drain("ValueError");
    ASSERT_EQ(job().state, JobState::kStarting) << round;
    ranks_started();
    progress(100 + round, 1);
  }
}

TEST_F(RunningJobTest, OutOfMemoryIsTriedOnceMore) {
  const RankExit killed{.signal = SIGKILL,
                        .memory_peak_bytes = 900u << 20,
                        .memory_limit_bytes = 1024u << 20,
                        .out_of_memory = true};
  exit_rank(1, killed);
  drain_all();
  EXPECT_EQ(job().state, JobState::kStarting);
  ranks_started();
  exit_rank(1, killed);
  drain_all();
  EXPECT_EQ(job().state, JobState::kFailed);
  EXPECT_EQ(job().last_verdict->cause, CauseClass::kOutOfMemory);
  EXPECT_THAT(job().reason, HasSubstr("used 900 MiB, limit 1024 MiB"));
}

TEST_F(RunningJobTest, TroubleWhenAllRanksHaveEndedWellIsNoFailure) {
  for (std::uint32_t rank = 0; rank < 3; ++rank) exit_rank(rank, {});
  step(event::RanksStalled{kJob, attempt().number, {3}, seconds(30)});  // a long last save
  exit_rank(3, {});
  fire(TimerKind::kStacks);
  drain_all();
  EXPECT_EQ(job().state, JobState::kSucceeded);
  EXPECT_EQ(attempt().number, Attempt{1});
}

// --- hangs

TEST_F(RunningJobTest, AHangCollectsStacksThenNamesTheRankThatDiffers) {
  step(event::RanksStalled{kJob, attempt().number, {0, 1, 2, 3}, seconds(30)});
  EXPECT_THAT(told<server_message::CollectStacks>(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(stopped(), IsEmpty()) << "the living ranks are the evidence";
  for (std::uint32_t rank = 0; rank < 4; ++rank)
    step(event::StacksCollected{
        attempt().nodes[rank],
        {.job = kJob,
         .attempt = attempt().number,
         .rank = rank,
         .answered = true,
         .text = std::string("Current thread 0x1 (most recent call first):\n  File \"") +
                 (rank == 2 ? "/job/train.py\", line 3 in load"
                            : "/torch/distributed/c.py\", line 1 in all_reduce")}});
  EXPECT_THAT(stopped(), ElementsAre(1, 2, 3, 4));
  drain_all();
  EXPECT_THAT(job().last_verdict->ranks, ElementsAre(2u));
  EXPECT_THAT(job().last_verdict->summary, HasSubstr("rank 2 on n3"));
  EXPECT_THAT(started(), ElementsAre(1, 2, 3, 4)) << "the cheap action first";
}

TEST_F(RunningJobTest, StacksThatDoNotComeAreNotWaitedForForEver) {
  step(event::RanksStalled{kJob, attempt().number, {1}, seconds(30)});
  fire(TimerKind::kStacks);
  EXPECT_THAT(stopped(), SizeIs(4));
}

TEST_F(RunningJobTest, ANodeThatAHangNamesTwiceWithoutProgressLosesItsPlace) {
  for (int round = 0; round < 2; ++round) {
    step(event::RanksStalled{kJob, attempt().number, {0, 1, 2, 3}, seconds(30)});
    for (std::uint32_t rank = 0; rank < 4; ++rank)
      step(event::StacksCollected{
          attempt().nodes[rank],
          {.job = kJob, .attempt = attempt().number, .rank = rank, .answered = rank != 1}});
    drain_all();
    ASSERT_EQ(job().state, JobState::kStarting);
    if (round == 0) ranks_started();
  }
  EXPECT_THAT(started(), ElementsAre(1, 5, 3, 4));
  EXPECT_EQ(place(2), 0u);
  EXPECT_EQ(node(2).state, NodeState::kHealthy) << "suspected, not condemned";
}

TEST_F(RunningJobTest, RanksThatCannotBeEndedCostTheirNode) {
  exit_rank(0, {.signal = SIGKILL});
  for (const std::uint32_t n : {1u, 2u, 3u}) drain(n);
  fire(TimerKind::kDrain);
  EXPECT_EQ(node(4).state, NodeState::kGone);
  EXPECT_THAT(told<server_message::Fenced>(), ElementsAre(4));
  EXPECT_THAT(started(), ElementsAre(1, 2, 3, 5));
}

TEST_F(ControllerTest, ANodeThatDoesNotStartItsRanksIsLost) {
  make_cluster({.groups = one_group(4, 1)});
  submit(4, 4);
  for (const std::uint32_t n : {1u, 2u, 4u})
    step(event::RanksStarted{NodeId{n}, {kJob, Attempt{1}, {}}});
  fire(TimerKind::kStart);
  EXPECT_EQ(node(3).state, NodeState::kGone);
  drain_all();
  EXPECT_THAT(started(), ElementsAre(1, 2, 5, 4));
}

// --- trouble on trouble

TEST_F(RunningJobTest, FaultsDuringARecoveryExtendTheSameIncident) {
  exit_rank(0, {.signal = SIGSEGV});  // 1: a crash,
  lose({3});                          // 2: a node dies while it drains,
  drain_all();
  EXPECT_THAT(started(), ElementsAre(1, 2, 5, 4));
  lose({5});  // 3: and then the spare, before it has started anything
  EXPECT_EQ(job().state, JobState::kRecovering);
  drain_all();
  EXPECT_EQ(job().state, JobState::kQueued);
  join(6);
  EXPECT_THAT(started(), ElementsAre(1, 2, 6, 4));
  run_to(101);
  EXPECT_EQ(job().state, JobState::kRunning);
  ASSERT_THAT(controller_.state().incidents, SizeIs(1));
  EXPECT_EQ(incident().state, IncidentState::kRecovered);
  EXPECT_EQ(incident().first_attempt, Attempt{1});
  EXPECT_EQ(incident().last_attempt, Attempt{3});
  EXPECT_THAT(incident().verdicts, SizeIs(2));
}

TEST_F(RunningJobTest, ACordonedNodeThatDiesWithAnotherDoesNotStartAnAttemptOnADeadOne) {
  xid(2, 79, Action::kReplaceNode);
  drain(1);
  drain(3);
  drain(4);  // n2 alone is awaited
  lose({2, 4});
  EXPECT_THAT(started(), IsEmpty());
  EXPECT_EQ(attempt().number, Attempt{1});
}

TEST_F(RunningJobTest, AStopDuringARecoveryEndsTheJob) {
  exit_rank(0, {.signal = SIGKILL});
  step(event::JobStopAsked{kJob, "operator"});
  EXPECT_EQ(job().state, JobState::kStopping);
  drain_all();
  EXPECT_EQ(job().state, JobState::kStopped);
  EXPECT_THAT(started(), IsEmpty());
  EXPECT_EQ(incident().state, IncidentState::kFailed);
}

TEST_F(RunningJobTest, AStopWhileStacksAreCollectedDoesNotWaitForThem) {
  step(event::RanksStalled{kJob, attempt().number, {0}, seconds(30)});
  step(event::JobStopAsked{kJob, "operator"});
  EXPECT_THAT(stopped(), SizeIs(4));
  drain_all();
  EXPECT_EQ(job().state, JobState::kStopped);
}

TEST_F(RunningJobTest, AStoppedJobIsGivenItsGraceAndFreesTheNodes) {
  submit(1, 1, "next");
  step(event::JobStopAsked{kJob, "operator"});
  EXPECT_THAT(stopped(), SizeIs(4));
  drain_all();
  EXPECT_EQ(job().state, JobState::kStopped);
  EXPECT_EQ(job(JobId{2}).state, JobState::kStarting);
  EXPECT_EQ(controller_.check(event::JobStopAsked{kJob, "me"}).error().code, Errc::kWrongState);
}

TEST_F(RunningJobTest, NewsOfAnOlderAttemptChangesNothing) {
  exit_rank(0, {.signal = SIGKILL});
  drain_all();
  const std::uint64_t before = controller_.digest();
  step(event::RanksStarted{NodeId{1}, {kJob, Attempt{1}, {}}});
  step(event::RankExited{NodeId{1}, kJob, Attempt{1}, {.rank = 0, .signal = SIGKILL}});
  step(event::AttemptDrained{NodeId{1}, kJob, Attempt{1}});
  step(event::RanksStalled{kJob, Attempt{1}, {0}, seconds(30)});
  for (const TimerKind kind : {TimerKind::kDrain, TimerKind::kStacks, TimerKind::kStart,
                               TimerKind::kBackoff, TimerKind::kQuiet})
    step(event::TimerFired{{kind, kJob, Attempt{1}}});
  EXPECT_EQ(controller_.digest(), before);
}

// --- the control plane restarts, streams break

TEST_F(RunningJobTest, AHelloBringsBackWhatTheBrokenStreamLost) {
  // The end of a rank.
  join(2, {{.job = kJob, .attempt = Attempt{1}, .exited = {{.rank = 1, .signal = SIGSEGV}}}});
  EXPECT_EQ(job().state, JobState::kRecovering);
  // The order to stop: told again to a node that still runs.
  join(3, {{.job = kJob, .attempt = Attempt{1}, .running = {2}}});
  EXPECT_THAT(stopped(), ElementsAre(3));
  // The answer to it.
  for (const std::uint32_t n : {1u, 2u, 4u}) drain(n);
  join(3, {{.job = kJob,
            .attempt = Attempt{1},
            .drained = true,
            .exited = {{.rank = 2, .asked = true}}}});
  EXPECT_EQ(job().state, JobState::kStarting);
  // The order to start: to one that knows only the old attempt, and to one that lost everything.
  join(4, {{.job = kJob, .attempt = Attempt{1}, .drained = true}});
  EXPECT_THAT(started(), ElementsAre(4));
  join(1);
  EXPECT_THAT(started(), ElementsAre(1));
  // The news that it has started.
  for (std::uint32_t n = 1; n <= 4; ++n)
    join(n, {{.job = kJob, .attempt = Attempt{2}, .running = {n - 1}}});
  EXPECT_EQ(job().state, JobState::kRunning);
}

TEST_F(RunningJobTest, AnAgentThatCameBackWithoutItsRanksIsARecovery) {
  join(2);
  EXPECT_EQ(job().state, JobState::kRecovering);
  drain_all();
  EXPECT_THAT(started(), ElementsAre(1, 2, 3, 4));
}

TEST_F(RunningJobTest, ANodeThatRunsAnEndedJobIsToldToStop) {
  for (std::uint32_t rank = 0; rank < 4; ++rank) exit_rank(rank, {});
  join(2, {{.job = kJob, .attempt = Attempt{1}, .running = {1}}});
  EXPECT_THAT(stopped(), ElementsAre(2));
  EXPECT_THAT(told<server_message::ForgetJob>(), ElementsAre(2));
}

TEST_F(RunningJobTest, ARestartedServerAsksAgainForWhatMayNotHaveBeenDone) {
  lose({2});  // the provisioning of n6 may not have left
  step(event::ServerStarted{});
  EXPECT_THAT(asked<effect::Provision>(), ElementsAre(6));
  EXPECT_THAT(effects_,
              testing::Contains(testing::VariantWith<effect::ArmTimer>(testing::Field(
                  &effect::ArmTimer::timer, TimerId{TimerKind::kDrain, kJob, Attempt{1}}))));
  drain_all();
  xid(1, 79, Action::kReplaceNode);
  drain_all();
  step(event::ServerStarted{});
  EXPECT_THAT(asked<effect::Terminate>(), ElementsAre(1));
}

// --- other rows

TEST_F(RunningJobTest, AFailedCheckpointIsAnAlertAndTrainingGoesOn) {
  progress(110, 10, 110);
  RankProgress page{.step = 120, .steps_this_attempt = 20};
  page.committed_step = 110;
  page.checkpoint_failures = 1;
  page.checkpoint_error = "No space left on device; free some";
  step(event::Progressed{kJob, attempt().number, NodeId{1}, page});
  EXPECT_THAT(audit("checkpoint.failed"), HasSubstr("the commit of step 110 is intact"));
  EXPECT_THAT(audit("checkpoint.failed"), HasSubstr("free some"));
  EXPECT_EQ(job().state, JobState::kRunning);
  step(event::Progressed{kJob, attempt().number, NodeId{1}, page});
  EXPECT_EQ(audit("checkpoint.failed"), "") << "told once";
  page.checkpoint_failures = 2;
  step(event::Progressed{kJob, attempt().number, NodeId{1}, page});
  EXPECT_EQ(audit("checkpoint.failed"), "") << "until a commit succeeds";
  page.committed_step = 130;
  step(event::Progressed{kJob, attempt().number, NodeId{1}, page});
  EXPECT_THAT(audit("checkpoint.resumed"), HasSubstr("step 130"));
  page.committed_step = 140;
  step(event::Progressed{kJob, attempt().number, NodeId{1}, page});
  EXPECT_EQ(audit("checkpoint.failed"), "") << "the count of old failures is no new one";
  EXPECT_EQ(audit("checkpoint.resumed"), "");
  page.checkpoint_failures = 3;
  step(event::Progressed{kJob, attempt().number, NodeId{1}, page});
  EXPECT_THAT(audit("checkpoint.failed"), HasSubstr("the commit of step 140 is intact"));
}

TEST_F(ControllerTest, AJobThatMakesNoStepsHasRecoveredWhenItKeepsRunning) {
  make_cluster({.groups = one_group(1)});
  submit(1, 1);
  ranks_started();
  exit_rank(0, {.signal = SIGKILL});
  drain_all();
  ranks_started();
  EXPECT_EQ(incident().state, IncidentState::kOpen);
  fire(TimerKind::kQuiet);
  EXPECT_EQ(incident().state, IncidentState::kRecovered);
}

TEST_F(ControllerTest, AJobThatIsSaidToMakeStepsHasRecoveredWithItsFirst) {
  make_cluster({.groups = one_group(1)});
  JobSpec spec{.name = "steps", .command = {"python3", "train.py"}};
  spec.hang.first_step_max = seconds(60);
  step(event::JobSubmitted{spec});
  ranks_started();
  exit_rank(0, {.signal = SIGKILL});
  drain_all();
  ranks_started();
  EXPECT_FALSE(timers_.contains({TimerKind::kQuiet, kJob, attempt().number}));
  EXPECT_EQ(incident().state, IncidentState::kOpen);
  progress(1, 1);
  EXPECT_EQ(incident().state, IncidentState::kRecovered);
}

}  // namespace
}  // namespace holdfast
