#include "core/diagnose/incident_evidence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "core/diagnose/kernel_log.h"

namespace holdfast {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kStart = 1'795'493'000 * kSecond;
constexpr std::string_view kEcho =
    "Traceback (most recent call last):\n  File \"t.py\", line 9, in step\n"
    "RuntimeError: Connection closed by peer [10.0.0.7]:4242\n";

// `count` ranks, two on each node, all ended by status 1 with an echo at second 100.
IncidentEvidence all_echo(std::uint32_t count) {
  IncidentEvidence evidence{.started_ns = kStart};
  for (std::uint32_t i = 0; i < count; ++i)
    evidence.ranks.push_back({.exit = {.rank = i, .code = 1},
                              .node = NodeId{1 + i / 2},
                              .pid = static_cast<std::int32_t>(1000 + i),
                              .state = RankEvidence::State::kExited,
                              .last_step = 50,
                              .ended_ns = kStart + 100 * kSecond,
                              .log = read_rank_log(kEcho)});
  return evidence;
}

void ends(RankEvidence& rank, std::int32_t signal, std::int64_t second, std::string_view log = {}) {
  rank.exit.code = signal == 0 ? 1 : 0;
  rank.exit.signal = signal;
  rank.ended_ns = kStart + second * kSecond;
  rank.log = read_rank_log(log);
}

void raises(RankEvidence& rank, std::string_view exception, std::int64_t second = 99) {
  ends(rank, 0, second,
       "Traceback (most recent call last):\n  File \"t.py\", line 1, in f\n" +
           std::string(exception) + "\n");
}

NodeFinding finding(std::uint32_t node, const std::string& line,
                    std::optional<std::int64_t> second = {}) {
  const auto fault = read_kernel_line(line);
  EXPECT_TRUE(fault) << line;
  return {NodeId{node}, fault.value_or(Fault{}),
          second ? std::optional(kStart + *second * kSecond) : std::nullopt};
}

const std::string kXid79 = "NVRM: Xid (PCI:0000:b9:00): 79, pid=1003, GPU has fallen off the bus.";

TEST(Judge, OneXidAndThousandsOfEchoesAreOneIncidentOnOneNode) {
  IncidentEvidence evidence = all_echo(2048);
  evidence.findings = {finding(2, kXid79, 90)};
  const Verdict verdict = judge(evidence);
  EXPECT_EQ(verdict.cause, CauseClass::kAccelerator);
  EXPECT_EQ(verdict.action, Action::kRebootNode);
  EXPECT_THAT(verdict.nodes, ElementsAre(NodeId{2}));
  EXPECT_THAT(verdict.ranks, ElementsAre(3u)) << "the Xid names its process";
  EXPECT_THAT(verdict.summary, HasSubstr("2047 ranks ended in consequence"));
}

TEST(Judge, AFaultAfterTheFirstFailureIsNoCause) {
  IncidentEvidence evidence = all_echo(4);
  raises(evidence.ranks[0], "ValueError: bad", 60);
  evidence.findings = {finding(2, kXid79, 90)};
  EXPECT_EQ(judge(evidence).cause, CauseClass::kApplication);
  evidence.findings = {finding(2, kXid79, 61)};
  EXPECT_EQ(judge(evidence).cause, CauseClass::kAccelerator) << "the same moment, for two clocks";
  evidence.findings = {finding(2, kXid79)};
  EXPECT_EQ(judge(evidence).cause, CauseClass::kAccelerator) << "no time: taken as first";
  evidence.findings = {finding(2, kXid79, -3600)};
  EXPECT_EQ(judge(evidence).cause, CauseClass::kApplication) << "an hour before the attempt";
}

TEST(Judge, TheDriversOwnRecoveryActionCounts) {
  IncidentEvidence evidence = all_echo(4);
  evidence.findings = {finding(1, "NVRM: Xid (PCI:0000:b9:00): 48, pid=1, x", 90),
                       finding(1,
                               "NVRM: Xid (PCI:0000:b9:00): 154, GPU recovery action changed from "
                               "0x0 (None) to 0x2 (Node Reboot Required)",
                               91)};
  EXPECT_EQ(judge(evidence).action, Action::kRebootNode);
  evidence.findings.pop_back();
  EXPECT_EQ(judge(evidence).action, Action::kResetDevice);
}

TEST(Judge, ApplicationXidsCondemnNothing) {
  IncidentEvidence evidence = all_echo(4);
  raises(evidence.ranks[3], "RuntimeError: CUDA error: an illegal memory access was encountered");
  evidence.findings = {finding(2, "NVRM: Xid (PCI:0000:b9:00): 31, pid=1003, name=python3, x", 99)};
  const Verdict verdict = judge(evidence);
  EXPECT_EQ(verdict.cause, CauseClass::kApplication);
  EXPECT_EQ(verdict.action, Action::kRestartRanks);
  EXPECT_EQ(verdict.confidence, Confidence::kMedium) << "hardware gives this as well";
  EXPECT_THAT(verdict.ranks, ElementsAre(3u));
  EXPECT_EQ(verdict.evidence.size(), 3u) << "the Xid is part of the evidence";
}

TEST(Judge, TheFirstFailureNotTheLastNorTheSignals) {
  IncidentEvidence evidence = all_echo(4);
  raises(evidence.ranks[1], "KeyError: 'x'", 90);
  ends(evidence.ranks[2], SIGSEGV, 95);
  ends(evidence.ranks[3], SIGTERM, 96);
  Verdict verdict = judge(evidence);
  EXPECT_THAT(verdict.ranks, ElementsAre(1u));
  EXPECT_THAT(verdict.summary, HasSubstr("KeyError"));
  // A kill that came before everything else is the cause.
  ends(evidence.ranks[3], SIGKILL, 80);
  verdict = judge(evidence);
  EXPECT_THAT(verdict.ranks, ElementsAre(3u));
  EXPECT_EQ(verdict.cause, CauseClass::kUnknown);
}

TEST(Judge, WithoutTimesAKillDoesNotHideAnException) {
  IncidentEvidence evidence = all_echo(4);
  raises(evidence.ranks[1], "KeyError: 'x'");
  ends(evidence.ranks[2], SIGTERM, 0);
  for (RankEvidence& rank : evidence.ranks) rank.ended_ns.reset();
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(1u));
}

TEST(Judge, MemoryByTheKernelByCudaAndByPython) {
  IncidentEvidence evidence = all_echo(4);
  ends(evidence.ranks[2], SIGKILL, 99);
  evidence.findings = {finding(
      2, "Memory cgroup out of memory: Killed process 1002 (python3) total-vm:9kB, anon-rss:8kB")};
  Verdict verdict = judge(evidence);
  EXPECT_EQ(verdict.cause, CauseClass::kOutOfMemory);
  EXPECT_EQ(verdict.action, Action::kRestartRanks);
  EXPECT_THAT(verdict.ranks, ElementsAre(2u));
  for (const char* error :
       {"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: can't allocate "
        "memory",
        "MemoryError"}) {
    evidence = all_echo(4);
    raises(evidence.ranks[2], error);
    EXPECT_EQ(judge(evidence).cause, CauseClass::kOutOfMemory) << error;
  }
}

TEST(Judge, AHardwareErrorOfCudaNeedsNoKernelLog) {
  IncidentEvidence evidence = all_echo(4);
  raises(evidence.ranks[2], "RuntimeError: CUDA error: uncorrectable ECC error encountered");
  const Verdict verdict = judge(evidence);
  EXPECT_EQ(verdict.cause, CauseClass::kAccelerator);
  EXPECT_EQ(verdict.action, Action::kResetDevice);
  EXPECT_THAT(verdict.nodes, ElementsAre(NodeId{2}));
}

TEST(Judge, AFullDiskAsksAPerson) {
  IncidentEvidence evidence = all_echo(4);
  raises(evidence.ranks[0], "OSError: [Errno 28] No space left on device");
  EXPECT_EQ(judge(evidence).cause, CauseClass::kStorage);
  EXPECT_EQ(judge(evidence).action, Action::kAskOperator);
}

TEST(Judge, ABadLossIsRetriedAndItsFirstRankNamed) {
  IncidentEvidence evidence = all_echo(2);
  for (RankEvidence& rank : evidence.ranks) ends(rank, 0, 99, "step 7 loss nan\n");
  Verdict verdict = judge(evidence);
  EXPECT_EQ(verdict.cause, CauseClass::kApplication);
  EXPECT_EQ(verdict.action, Action::kRestartRanks);
  EXPECT_THAT(verdict.summary, HasSubstr("since step 7"));
  ends(evidence.ranks[0], 0, 99, "step 8 loss nan\n");
  verdict = judge(evidence);
  EXPECT_THAT(verdict.ranks, ElementsAre(1u));
  EXPECT_EQ(verdict.confidence, Confidence::kLow);
  raises(evidence.ranks[0], "KeyError: 'x'", 99);
  EXPECT_THAT(judge(evidence).summary, HasSubstr("KeyError"));
}

TEST(Judge, WhatOnlyRepeatsIsStopped) {
  IncidentEvidence evidence = all_echo(2);
  for (RankEvidence& rank : evidence.ranks) raises(rank, "KeyError: 'x'", 5);
  EXPECT_EQ(judge(evidence).action, Action::kRestartRanks);
  evidence.attempts_without_progress = 2;
  EXPECT_EQ(judge(evidence).action, Action::kStopJob);
  evidence.attempts_without_progress = 0;
  for (RankEvidence& rank : evidence.ranks) {
    raises(rank, "SyntaxError: invalid syntax", 5);
    rank.last_step.reset();
  }
  EXPECT_EQ(judge(evidence).action, Action::kStopJob);
}

std::string stack(std::string_view frame) {
  return "Current thread 0x1 (most recent call first):\n  File \"" + std::string(frame) + "\n";
}

TEST(Judge, AHangNamesTheRankThatIsNotWhereTheOthersAre) {
  IncidentEvidence evidence = all_echo(4);
  for (RankEvidence& rank : evidence.ranks) {
    rank.state = RankEvidence::State::kRunning;
    rank.exit.code = 0;
    rank.ended_ns.reset();
    rank.log = {};
    rank.stacks = stack("/x/torch/distributed/distributed_c10d.py\", line 1 in all_reduce");
  }
  evidence.ranks[2].stacks = stack("train.py\", line 4 in load");
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(2u));
  EXPECT_EQ(judge(evidence).action, Action::kRestartRanks);
  evidence.ranks[2].stacks = "";  // did not answer
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(2u));
  // No stacks at all: steps.
  for (RankEvidence& rank : evidence.ranks) rank.stacks.reset();
  EXPECT_THAT(judge(evidence).ranks, IsEmpty());
  evidence.ranks[1].last_step = 49;
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(1u));
}

TEST(Judge, TheRankThatTheWatchdogsWaitedFor) {
  IncidentEvidence evidence = all_echo(4);
  const auto timeout = [](int seq) {
    return "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=" +
           std::to_string(seq) +
           ", OpType=ALLREDUCE) ran for 600012 milliseconds before timing "
           "out.\n";
  };
  for (RankEvidence& rank : evidence.ranks) ends(rank, SIGABRT, 99, timeout(57));
  EXPECT_THAT(judge(evidence).nodes, ::testing::SizeIs(1)) << "all alike: the first echo";
  ends(evidence.ranks[3], SIGABRT, 99, timeout(56));
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(3u));
  ends(evidence.ranks[3], 0, 99, kEcho);
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(3u)) << "the one without a timeout";
}

TEST(Judge, TheRankThatIsBehindInTheFlightRecords) {
  IncidentEvidence evidence = all_echo(4);
  for (RankEvidence& rank : evidence.ranks) rank.collectives = {{"0", {603, ""}}, {"1", {15, ""}}};
  evidence.ranks[2].collectives["1"].reached = 13;
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(2u));
  raises(evidence.ranks[0], "KeyError: 'x'");
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(0u)) << "a cause of its own counts more";
}

TEST(Judge, ARankWithoutAFlightRecordWhereAllOthersHaveOne) {
  IncidentEvidence evidence = all_echo(4);
  for (RankEvidence& rank : evidence.ranks) rank.collectives = {{"0", {602, ""}}};
  evidence.ranks[1].collectives.clear();
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(1u));
  evidence.ranks[0].collectives.clear();
  EXPECT_THAT(judge(evidence).confidence, Confidence::kLow) << "two: files may be missing";
}

TEST(Judge, ARankThatBeganAnotherCollective) {
  IncidentEvidence evidence = all_echo(4);
  for (RankEvidence& rank : evidence.ranks)
    rank.collectives = {{"0", {603, "nccl:all_reduce [[4]]"}}};
  evidence.ranks[2].collectives["0"].operation = "nccl:all_gather [[4]]";
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(2u));
  evidence.ranks[1].collectives["0"].operation = "nccl:all_gather [[4]]";
  EXPECT_EQ(judge(evidence).confidence, Confidence::kLow) << "half and half";
}

TEST(Judge, ARankThatTheKernelFoundStuck) {
  IncidentEvidence evidence = all_echo(4);
  for (RankEvidence& rank : evidence.ranks) {
    rank.state = RankEvidence::State::kRunning;
    rank.log = {};
  }
  evidence.findings = {finding(2, "INFO: task python3:1003 blocked for more than 120 seconds.")};
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(3u));
  evidence.findings[0].fault.pid = 77;
  EXPECT_THAT(judge(evidence).ranks, IsEmpty());
}

TEST(Judge, ARankWithoutAStackWhereAllOthersWait) {
  IncidentEvidence evidence = all_echo(4);
  for (RankEvidence& rank : evidence.ranks) {
    rank.state = RankEvidence::State::kRunning;
    rank.log = {};
    rank.stacks = stack("/x/torch/distributed/distributed_c10d.py\", line 1 in all_reduce");
  }
  evidence.ranks[1].stacks.reset();
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(1u));
  evidence.ranks[3].stacks = stack("train.py\", line 4 in load");
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(3u)) << "another one explains it";
}

TEST(Judge, RanksThatWereKilledAllAtOnceHungWhereStacksTellSo) {
  IncidentEvidence evidence = all_echo(4);
  for (RankEvidence& rank : evidence.ranks) {
    ends(rank, SIGKILL, 700);
    rank.stacks = stack("/x/torch/distributed/distributed_c10d.py\", line 1 in all_reduce");
  }
  evidence.ranks[2].stacks = stack("train.py\", line 4 in load");
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(2u));
  EXPECT_THAT(judge(evidence).summary, HasSubstr("no progress"));
  for (RankEvidence& rank : evidence.ranks) rank.stacks.reset();
  EXPECT_THAT(judge(evidence).summary, HasSubstr("SIGKILL")) << "nothing else is known";
}

TEST(Judge, TheLaunchersWordOnWhoFailedFirst) {
  const std::string summary =
      "Traceback (most recent call last):\n  File \"torchrun\", line 8, in <module>\n"
      "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
      "Root Cause (first observed failure):\n[0]:\n  rank      : 3 (local_rank: 1)\n"
      "  exitcode  : -9 (pid: 1003)\n";
  IncidentEvidence evidence = all_echo(4);
  for (RankEvidence& rank : evidence.ranks) ends(rank, 0, 100, summary);
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(3u));
  EXPECT_THAT(judge(evidence).summary, HasSubstr("SIGKILL"));
  for (RankEvidence& rank : evidence.ranks)
    ends(rank, 0, 100, "MPI_ABORT was invoked on rank 2 in communicator MPI_COMM_WORLD\n-----\n");
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(2u));
  raises(evidence.ranks[1], "KeyError: 'x'", 100);
  evidence.ranks[2].log = read_rank_log(kEcho);
  EXPECT_THAT(judge(evidence).summary, HasSubstr("KeyError")) << "an error of a rank's own";
}

TEST(Judge, AChildThatTheKernelKilledForMemory) {
  IncidentEvidence evidence = all_echo(4);
  evidence.findings = {finding(
      2, "Memory cgroup out of memory: Killed process 4711 (python3) total-vm:9kB, anon-rss:8kB")};
  ends(evidence.ranks[2], 0, 99, "step 1\n");
  evidence.ranks[2].exit.code = 137;
  EXPECT_EQ(judge(evidence).cause, CauseClass::kOutOfMemory);
  raises(evidence.ranks[2],
         "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. ");
  EXPECT_EQ(judge(evidence).cause, CauseClass::kOutOfMemory);
  EXPECT_THAT(judge(evidence).ranks, ElementsAre(2u));
}

TEST(Judge, AProcessThatWasEndedForDamagedMemory) {
  IncidentEvidence evidence = all_echo(4);
  ends(evidence.ranks[1], SIGBUS, 99);
  evidence.findings = {finding(
      1, "Memory failure: 0x7f: Sending SIGBUS to python3:1001 due to hardware memory corruption")};
  EXPECT_EQ(judge(evidence).cause, CauseClass::kHost);
  EXPECT_EQ(judge(evidence).action, Action::kRestartRanks) << "the page is out of use";
  evidence.findings[0].fault.pid = 77;
  EXPECT_EQ(judge(evidence).cause, CauseClass::kApplication) << "another process";
}

TEST(Judge, EchoesAloneAndOneNodesLinkDown) {
  IncidentEvidence evidence = all_echo(4);
  evidence.findings = {finding(2, "mlx5_core 0000:3b:00.0 ib0: Link down", 97)};
  Verdict verdict = judge(evidence);
  EXPECT_EQ(verdict.cause, CauseClass::kInterconnect);
  EXPECT_EQ(verdict.action, Action::kRestartRanks);
  EXPECT_THAT(verdict.nodes, ElementsAre(NodeId{2}));
  evidence.findings.push_back(finding(1, "mlx5_core 0000:3b:00.0 ib0: Link down", 97));
  EXPECT_THAT(judge(evidence).nodes, ElementsAre(NodeId{1})) << "both: the first echo";
}

TEST(Judge, ALossThatJumpedIsPartOfTheStory) {
  std::string log;
  for (int i = 0; i < 20; ++i) log += "step " + std::to_string(i) + " loss 2.5\n";
  IncidentEvidence evidence = all_echo(2);
  for (RankEvidence& rank : evidence.ranks)
    rank.log = read_rank_log(log + "step 20 loss 900\n" + std::string(kEcho));
  EXPECT_EQ(judge(evidence).cause, CauseClass::kApplication);
  EXPECT_THAT(judge(evidence).summary, HasSubstr("jumped: step 20 loss 900"));
  raises(evidence.ranks[1], "KeyError: 'x'");
  EXPECT_THAT(judge(evidence).summary, HasSubstr("KeyError"));
}

TEST(Judge, ALostNodeIsReplaced) {
  IncidentEvidence evidence = all_echo(4);
  evidence.ranks[2].state = evidence.ranks[3].state = RankEvidence::State::kLost;
  const Verdict verdict = judge(evidence);
  EXPECT_EQ(verdict.cause, CauseClass::kHost);
  EXPECT_EQ(verdict.action, Action::kReplaceNode);
  EXPECT_THAT(verdict.nodes, ElementsAre(NodeId{2}));
}

TEST(Judge, AnUndocumentedXidBesideNothingElseAsksThePerson) {
  IncidentEvidence evidence = all_echo(4);
  evidence.findings = {finding(2, "NVRM: Xid (PCI:0000:b9:00): 9999, x", 99)};
  const Verdict verdict = judge(evidence);
  EXPECT_NE(verdict.action, Action::kReplaceNode);
}

TEST(Judge, NothingIsNoCrash) {
  EXPECT_EQ(judge({}).action, Action::kNone);
  EXPECT_EQ(judge({.findings = {finding(2, kXid79)}}).nodes, std::vector{NodeId{2}});
}

}  // namespace
}  // namespace holdfast
