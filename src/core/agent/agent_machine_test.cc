#include "core/agent/agent_machine.h"

#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr JobId kJob{1};

// An agent of the second node of a job with two ranks per node: ranks 2 and 3 live here.
class AgentMachineTest : public testing::Test {
 protected:
  void step(const AgentEvent& event) {
    effects_.clear();
    machine_.step(Instant{}, event, effects_);
  }
  void receive(ServerMessage message) { step(agent_event::Received{std::move(message)}); }
  void start(std::uint32_t attempt) {
    server_message::StartRanks start{
        .job = kJob, .attempt = Attempt{attempt}, .group_rank = 1, .nodes = 2};
    start.spec.ranks_per_node = 2;
    receive(start);
  }
  void stop(std::uint32_t attempt, Duration grace = {}) {
    receive(server_message::StopRanks{kJob, Attempt{attempt}, grace});
  }
  void born(std::uint32_t attempt, std::uint32_t rank) {
    step(agent_event::RankStarted{kJob, Attempt{attempt}, rank,
                                  static_cast<std::int32_t>(100 + rank)});
  }
  void dies(std::uint32_t attempt, std::uint32_t rank, std::int32_t signal = SIGKILL) {
    step(agent_event::RankEnded{kJob, Attempt{attempt}, {.rank = rank, .signal = signal}});
  }
  void run(std::uint32_t attempt) {
    start(attempt);
    born(attempt, 2);
    born(attempt, 3);
  }
  void page(std::uint32_t rank, std::uint64_t steps) {
    step(agent_event::PageRead{
        kJob, Attempt{1}, {.rank = rank, .step = steps, .steps_this_attempt = steps}});
  }
  agent_message::Hello hello() {
    step(agent_event::Connected{{.node = NodeId{2}}});
    return sent<agent_message::Hello>().at(0);
  }

  // Of the last step, in order.
  template <class T>
  std::vector<T> done() const {
    std::vector<T> found;
    for (const AgentEffect& effect : effects_)
      if (const auto* one = std::get_if<T>(&effect)) found.push_back(*one);
    return found;
  }
  template <class T>
  std::vector<T> sent() const {
    std::vector<T> found;
    for (const auto& send : done<agent_effect::Send>())
      if (const auto* one = std::get_if<T>(&send.message)) found.push_back(*one);
    return found;
  }
  std::vector<std::int32_t> signals() const {
    std::vector<std::int32_t> found;
    for (const auto& kill : done<agent_effect::KillRanks>()) found.push_back(kill.signal);
    return found;
  }
  std::vector<Attempt> drained() const {
    std::vector<Attempt> found;
    for (const auto& one : sent<agent_message::AttemptDrained>()) found.push_back(one.attempt);
    return found;
  }

  AgentMachine machine_;
  AgentEffects effects_;
};

TEST_F(AgentMachineTest, StartsItsRanksAndSaysSoWhenAllAreThere) {
  start(1);
  EXPECT_THAT(done<agent_effect::StartRank>(), SizeIs(2));
  born(1, 2);
  EXPECT_THAT(sent<agent_message::RanksStarted>(), IsEmpty());
  born(1, 3);
  ASSERT_THAT(sent<agent_message::RanksStarted>(), SizeIs(1));
  EXPECT_THAT(sent<agent_message::RanksStarted>()[0].pids, ElementsAre(102, 103));
}

TEST_F(AgentMachineTest, AStaleOrRepeatedStartIsRefused) {
  run(5);
  for (const std::uint32_t attempt : {5u, 4u}) {
    start(attempt);
    EXPECT_THAT(effects_, IsEmpty()) << attempt;
  }
}

TEST_F(AgentMachineTest, AStaleStartIsRefusedAlsoAfterTheEnd) {
  run(5);
  stop(5);
  dies(5, 2);
  dies(5, 3);
  start(5);
  EXPECT_THAT(effects_, IsEmpty());
  start(6);
  EXPECT_THAT(done<agent_effect::StartRank>(), SizeIs(2));
}

TEST_F(AgentMachineTest, ANewAttemptWaitsUntilTheOldOneIsDead) {
  run(1);
  start(2);
  EXPECT_THAT(signals(), ElementsAre(SIGKILL));
  EXPECT_THAT(done<agent_effect::StartRank>(), IsEmpty());
  dies(1, 2);
  EXPECT_THAT(done<agent_effect::StartRank>(), IsEmpty());
  dies(1, 3);
  ASSERT_THAT(done<agent_effect::StartRank>(), SizeIs(2));
  EXPECT_EQ(done<agent_effect::StartRank>()[0].start.attempt, Attempt{2});
}

TEST_F(AgentMachineTest, ARankThatWasToldToDieBeforeItWasBornDiesThen) {
  start(1);
  stop(1);
  EXPECT_THAT(drained(), IsEmpty());
  born(1, 2);
  EXPECT_THAT(signals(), ElementsAre(SIGKILL));
  EXPECT_THAT(sent<agent_message::RanksStarted>(), IsEmpty());
  born(1, 3);
  EXPECT_THAT(signals(), ElementsAre(SIGKILL));
  dies(1, 2);
  dies(1, 3);
  EXPECT_THAT(drained(), ElementsAre(Attempt{1}));
}

TEST_F(AgentMachineTest, AStopWithGraceAsksThenInsists) {
  run(1);
  stop(1, seconds(5));
  EXPECT_THAT(signals(), ElementsAre(SIGTERM));
  EXPECT_THAT(done<agent_effect::ArmGrace>(), SizeIs(1));
  dies(1, 2, SIGTERM);
  EXPECT_TRUE(sent<agent_message::RankExited>()[0].exit.asked);
  step(agent_event::GraceOver{kJob, Attempt{1}});
  EXPECT_THAT(signals(), ElementsAre(SIGKILL));
  dies(1, 3);
  EXPECT_THAT(drained(), ElementsAre(Attempt{1}));
  step(agent_event::GraceOver{kJob, Attempt{1}});
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(AgentMachineTest, AStopIsAnsweredAlsoWhenNothingRuns) {
  stop(3);
  EXPECT_THAT(drained(), ElementsAre(Attempt{3}));
  run(4);
  stop(3);  // of an older one: not this one's end
  EXPECT_THAT(drained(), ElementsAre(Attempt{3}));
  EXPECT_THAT(signals(), IsEmpty());
}

TEST_F(AgentMachineTest, TheAnswerNamesTheAttemptThatWasAskedFor) {
  run(1);
  start(2);
  stop(2);  // attempt 2 has not begun yet, attempt 1 still dies
  dies(1, 2);
  dies(1, 3);
  EXPECT_THAT(drained(), ElementsAre(Attempt{2}));
  EXPECT_THAT(done<agent_effect::StartRank>(), IsEmpty());
}

TEST_F(AgentMachineTest, AStopOfTheOldAttemptLeavesTheNextOneAlone) {
  run(1);
  start(2);
  stop(1);
  dies(1, 2);
  dies(1, 3);
  EXPECT_THAT(done<agent_effect::StartRank>(), SizeIs(2));
}

TEST_F(AgentMachineTest, ACrashIsToldWithoutADrain) {
  run(1);
  dies(1, 2, SIGSEGV);
  ASSERT_THAT(sent<agent_message::RankExited>(), SizeIs(1));
  EXPECT_FALSE(sent<agent_message::RankExited>()[0].exit.asked);
  dies(1, 2, SIGSEGV);
  EXPECT_THAT(effects_, IsEmpty()) << "told once";
  dies(1, 3, SIGSEGV);
  EXPECT_THAT(drained(), IsEmpty());
  stop(1);
  EXPECT_THAT(drained(), ElementsAre(Attempt{1}));
}

TEST_F(AgentMachineTest, HelloTellsTheWholeState) {
  EXPECT_THAT(hello().attempts, IsEmpty());
  run(1);
  dies(1, 3, SIGSEGV);
  const auto attempts = hello().attempts;
  ASSERT_THAT(attempts, SizeIs(1));
  EXPECT_EQ(attempts[0].attempt, Attempt{1});
  EXPECT_THAT(attempts[0].running, ElementsAre(2u));
  ASSERT_THAT(attempts[0].exited, SizeIs(1));
  EXPECT_EQ(attempts[0].exited[0].signal, SIGSEGV);
  EXPECT_FALSE(attempts[0].drained);
  dies(1, 2);
  EXPECT_TRUE(hello().attempts[0].drained);
  receive(server_message::ForgetJob{kJob});
  EXPECT_THAT(hello().attempts, IsEmpty());
}

TEST_F(AgentMachineTest, AJobIsNotForgottenWhileItsRanksLive) {
  run(1);
  receive(server_message::ForgetJob{kJob});
  EXPECT_THAT(hello().attempts, SizeIs(1));
}

TEST_F(AgentMachineTest, AWelcomeIsFollowedByAllProgressAndTheFaultsThatCondemn) {
  run(1);
  page(2, 4);
  step(agent_event::HeartbeatDue{});
  step(agent_event::KernelLine{"NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."});
  EXPECT_THAT(sent<agent_message::FaultSeen>(), SizeIs(1));
  step(agent_event::KernelLine{"NVRM: Xid (PCI:0000:01:00): 13, Graphics Exception"});
  receive(server_message::Welcome{milliseconds(500)});
  ASSERT_THAT(sent<agent_message::FaultSeen>(), SizeIs(1));
  EXPECT_EQ(sent<agent_message::FaultSeen>()[0].fault.code, 79);
  ASSERT_THAT(sent<agent_message::Heartbeat>(), SizeIs(1));
  EXPECT_THAT(sent<agent_message::Heartbeat>()[0].progress, SizeIs(2));
  EXPECT_THAT(done<agent_effect::ArmHeartbeat>(), SizeIs(1));
}

TEST_F(AgentMachineTest, TheFirstStepIsToldAtOnceAndTheRestWithTheNextHeartbeat) {
  run(1);
  EXPECT_TRUE(machine_.is_starting());
  page(2, 1);
  EXPECT_THAT(sent<agent_message::Heartbeat>(), SizeIs(1));
  page(3, 1);
  EXPECT_FALSE(machine_.is_starting());
  page(2, 2);
  EXPECT_THAT(effects_, IsEmpty());
  step(agent_event::HeartbeatDue{});
  EXPECT_EQ(sent<agent_message::Heartbeat>().at(0).progress.at(0).steps_this_attempt, 2u);
  step(agent_event::HeartbeatDue{});
  EXPECT_THAT(sent<agent_message::Heartbeat>().at(0).progress, IsEmpty());
}

TEST_F(AgentMachineTest, FencedKillsEverythingAndLeaves) {
  run(1);
  start(2);  // waits for the end of attempt 1, and must not begin now
  receive(server_message::Fenced{"replaced"});
  EXPECT_THAT(signals(), ElementsAre(SIGKILL));
  EXPECT_THAT(done<agent_effect::Leave>(), SizeIs(1));
  dies(1, 2);
  dies(1, 3);
  EXPECT_THAT(done<agent_effect::StartRank>(), IsEmpty());
}

TEST_F(AgentMachineTest, ARankThatIsBornAfterTheFenceDiesAtOnce) {
  start(1);
  receive(server_message::Fenced{"replaced"});
  born(1, 2);
  EXPECT_THAT(signals(), ElementsAre(SIGKILL));
}

TEST_F(AgentMachineTest, AnOutOfMemoryKillIsMatchedByPid) {
  run(1);
  step(
      agent_event::KernelLine{"Memory cgroup out of memory: Killed process 103 (python3) "
                              "total-vm:1kB, anon-rss:2048kB, x"});
  dies(1, 2);
  EXPECT_FALSE(sent<agent_message::RankExited>()[0].exit.out_of_memory);
  dies(1, 3);
  EXPECT_TRUE(sent<agent_message::RankExited>()[0].exit.out_of_memory);
  EXPECT_EQ(sent<agent_message::RankExited>()[0].exit.memory_peak_bytes, 2048u * 1024);
}

TEST_F(AgentMachineTest, StacksAreReadFromTheLivingRanksOfThatAttemptOnly) {
  run(2);
  dies(2, 3);
  receive(server_message::CollectStacks{kJob, Attempt{1}});
  EXPECT_THAT(effects_, IsEmpty());
  receive(server_message::CollectStacks{kJob, Attempt{2}});
  ASSERT_THAT(done<agent_effect::CollectStacks>(), SizeIs(1));
  EXPECT_EQ(done<agent_effect::CollectStacks>()[0].rank, 2u);
}

TEST_F(AgentMachineTest, AWarmParentIsMadeOnceAndGoesWithItsJob) {
  receive(server_message::WarmUp{kJob, {}});
  EXPECT_THAT(done<agent_effect::WarmUp>(), SizeIs(1));
  receive(server_message::WarmUp{kJob, {}});
  EXPECT_THAT(effects_, IsEmpty());
  receive(server_message::ForgetJob{kJob});
  EXPECT_THAT(done<agent_effect::CoolDown>(), SizeIs(1));
}

TEST_F(AgentMachineTest, NewsOfAnUnknownRankOrAttemptIsIgnored) {
  run(2);
  born(1, 2);
  dies(1, 2);
  dies(2, 99);
  page(2, 7);
  step(agent_event::GraceOver{kJob, Attempt{9}});
  step(agent_event::KernelLine{"usb 1-1: new device"});
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(AgentMachineTest, WhatAProbeFindsIsToldWithItsEndAndAfterAReconnect) {
  DevicesReading reading{.has_library = true};
  reading.devices.push_back({.pci = "0000:3b:00.0", .recovery_action = 1});
  step(agent_event::DevicesRead{reading});
  ASSERT_THAT(sent<agent_message::FaultSeen>(), SizeIs(1));
  EXPECT_TRUE(sent<agent_message::FaultSeen>()[0].present);
  step(agent_event::DevicesRead{reading});
  EXPECT_THAT(effects_, IsEmpty());
  receive(server_message::Welcome{milliseconds(500)});
  EXPECT_THAT(sent<agent_message::FaultSeen>(), SizeIs(1));
  reading.devices[0].recovery_action = 0;
  step(agent_event::DevicesRead{reading});
  ASSERT_THAT(sent<agent_message::FaultCleared>(), SizeIs(1));
  EXPECT_EQ(sent<agent_message::FaultCleared>()[0].device, "0000:3b:00");
}

TEST_F(AgentMachineTest, AfterAResetNothingOldCondemnsTheNodeAgain) {
  step(agent_event::KernelLine{"NVRM: Xid (PCI:0000:3b:00): 48, pid=1, DBE"});
  receive(server_message::ResetDevices{{"0000:3b:00"}, "xid 48"});
  ASSERT_THAT(done<agent_effect::ResetDevices>(), SizeIs(1));
  step(agent_event::ResetDone{false, "in use"});
  EXPECT_FALSE(sent<agent_message::DevicesReset>().at(0).ok);
  receive(server_message::Welcome{milliseconds(500)});
  EXPECT_THAT(sent<agent_message::FaultSeen>(), SizeIs(1)) << "still so";
  step(agent_event::ResetDone{true, "done"});
  EXPECT_TRUE(sent<agent_message::DevicesReset>().at(0).ok);
  receive(server_message::Welcome{milliseconds(500)});
  EXPECT_THAT(sent<agent_message::FaultSeen>(), IsEmpty());
}

class AgentChecksTest : public AgentMachineTest {
 protected:
  void check(std::uint32_t step_number) {
    receive(server_message::StartCheck{.check = CheckId{1}, .step = step_number, .test = "cpu"});
  }
  void checked(std::uint32_t step_number) {
    step(agent_event::CheckDone{{.check = CheckId{1}, .step = step_number, .results = {{}}}});
  }
  std::vector<std::uint32_t> begun() const {
    std::vector<std::uint32_t> steps;
    for (const auto& start : done<agent_effect::StartCheck>()) steps.push_back(start.start.step);
    return steps;
  }
};

TEST_F(AgentChecksTest, AStepIsRunOnceAndItsAnswerIsToldAgainToWhoAsksAgain) {
  check(0);
  EXPECT_THAT(begun(), ElementsAre(0));
  check(0);
  EXPECT_THAT(effects_, IsEmpty()) << "it runs";
  checked(0);
  EXPECT_THAT(sent<agent_message::CheckReport>(), SizeIs(1));
  checked(0);
  EXPECT_THAT(effects_, IsEmpty());
  check(0);
  EXPECT_THAT(begun(), IsEmpty());
  EXPECT_THAT(sent<agent_message::CheckReport>(), SizeIs(1));
  receive(server_message::Welcome{milliseconds(500)});
  EXPECT_THAT(sent<agent_message::CheckReport>(), SizeIs(1)) << "it may be lost";
}

TEST_F(AgentChecksTest, TheNextStepRanksAndAFenceEndOne) {
  check(0);
  check(1);
  EXPECT_THAT(done<agent_effect::StopCheck>(), SizeIs(1));
  EXPECT_THAT(begun(), ElementsAre(1));
  checked(0);
  EXPECT_THAT(effects_, IsEmpty()) << "stale";
  start(1);
  EXPECT_THAT(done<agent_effect::StopCheck>(), SizeIs(1));
  checked(1);
  EXPECT_THAT(effects_, IsEmpty());
  check(2);
  receive(server_message::StopCheck{CheckId{9}});
  EXPECT_THAT(effects_, IsEmpty()) << "another run";
  receive(server_message::StopCheck{CheckId{1}});
  EXPECT_THAT(done<agent_effect::StopCheck>(), SizeIs(1));
  check(3);
  receive(server_message::Fenced{"gone"});
  EXPECT_THAT(done<agent_effect::StopCheck>(), SizeIs(1));
}

server_message::RunLifecycle scripts(std::uint32_t run) {
  return {.run = run, .on_create = "on_create.sh", .try_max = minutes(30), .tries_max = 3};
}

TEST_F(AgentMachineTest, LifecycleScriptsAreTriedUntilTheySucceed) {
  receive(scripts(1));
  EXPECT_THAT(done<agent_effect::TryLifecycle>(), SizeIs(1));
  receive(scripts(1));
  EXPECT_THAT(effects_, IsEmpty()) << "told twice";
  step(agent_event::LifecycleTried{1, false, "exit status 1", "no mount"});
  EXPECT_THAT(sent<agent_message::LifecycleReported>(), IsEmpty());
  const auto pause = done<agent_effect::ArmLifecycleRetry>();
  ASSERT_THAT(pause, SizeIs(1));
  step(agent_event::LifecycleRetryDue{1});
  EXPECT_THAT(done<agent_effect::TryLifecycle>(), SizeIs(1));
  step(agent_event::LifecycleTried{1, false, "exit status 1", "no mount"});
  EXPECT_GT(done<agent_effect::ArmLifecycleRetry>().at(0).after, pause[0].after);
  step(agent_event::LifecycleRetryDue{1});
  step(agent_event::LifecycleTried{1, true, "", "done"});
  const auto report = sent<agent_message::LifecycleReported>();
  ASSERT_THAT(report, SizeIs(1));
  EXPECT_TRUE(report[0].ok);
  EXPECT_EQ(report[0].tries, 3u);
  receive(scripts(1));
  EXPECT_THAT(sent<agent_message::LifecycleReported>(), SizeIs(1))
      << "asked again after a reconnect";
  receive(scripts(2));
  EXPECT_THAT(done<agent_effect::TryLifecycle>(), SizeIs(1)) << "a software update runs them anew";
}

TEST_F(AgentMachineTest, LifecycleScriptsFailAfterTheLastTry) {
  receive(scripts(1));
  for (int i = 1; i < 3; ++i) {
    step(agent_event::LifecycleTried{1, false, "exit status 1", ""});
    step(agent_event::LifecycleRetryDue{1});
  }
  step(agent_event::LifecycleTried{1, false, "exit status 7", "the last words"});
  const auto report = sent<agent_message::LifecycleReported>();
  ASSERT_THAT(report, SizeIs(1));
  EXPECT_FALSE(report[0].ok);
  EXPECT_EQ(report[0].reason, "exit status 7");
  EXPECT_EQ(report[0].log_tail, "the last words");
  step(agent_event::LifecycleRetryDue{1});
  EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(AgentMachineTest, AnAgentThatDiedInAScriptSaysSo) {
  step(agent_event::LifecycleFound{4, {}});
  EXPECT_EQ(hello().lifecycle_cut_off, 4u);
  receive(scripts(4));
  EXPECT_THAT(done<agent_effect::TryLifecycle>(), SizeIs(1));
  EXPECT_EQ(hello().lifecycle_cut_off, 0u) << "it runs again";
}

TEST_F(AgentMachineTest, AReportOutlivesTheAgent) {
  step(agent_event::LifecycleFound{0, agent_message::LifecycleReported{.run = 2, .ok = true}});
  receive(scripts(2));
  EXPECT_THAT(sent<agent_message::LifecycleReported>(), SizeIs(1));
  EXPECT_THAT(done<agent_effect::TryLifecycle>(), IsEmpty());
}

TEST_F(AgentMachineTest, RanksAndTheEndStopLifecycleScripts) {
  receive(scripts(1));
  start(1);
  EXPECT_THAT(done<agent_effect::StopLifecycle>(), SizeIs(1));
  step(agent_event::LifecycleTried{1, true, "", ""});
  EXPECT_THAT(effects_, IsEmpty()) << "late";
  receive(scripts(2));
  receive(server_message::Fenced{"gone"});
  EXPECT_THAT(done<agent_effect::StopLifecycle>(), SizeIs(1));
}

}  // namespace
}  // namespace holdfast
