#include "core/diagnose/verdict.h"

#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Four nodes n1..n4, two ranks each.
AttemptRecord attempt_with(std::vector<RankExit> exits) {
  AttemptRecord attempt;
  attempt.number = Attempt{1};
  attempt.nodes = {NodeId{1}, NodeId{2}, NodeId{3}, NodeId{4}};
  attempt.ranks_per_node = 2;
  attempt.exits = std::move(exits);
  return attempt;
}

RankExit raised(std::uint32_t rank, std::string type, std::string message = "") {
  return {
      .rank = rank, .code = 1, .error_type = std::move(type), .error_message = std::move(message)};
}
RankExit killed(std::uint32_t rank, std::int32_t signal) {
  return {.rank = rank, .signal = signal};
}
RankExit echo(std::uint32_t rank) {
  return raised(rank, "RuntimeError",
                "[../gloo/transport/tcp/pair.cc:598] Connection closed by peer");
}
RankExit out_of_memory(std::uint32_t rank) {
  RankExit exit = killed(rank, SIGKILL);
  exit.out_of_memory = true;
  exit.memory_peak_bytes = 900u << 20;
  exit.memory_limit_bytes = 1024u << 20;
  return exit;
}

TEST(Verdict, TheFirstCauseIsBelievedHoweverLateItIsHeardOf) {
  const Verdict verdict = diagnose(attempt_with({echo(0), echo(1), killed(5, SIGSEGV), echo(2)}));
  EXPECT_THAT(verdict.ranks, ElementsAre(5u));
  EXPECT_THAT(verdict.nodes, ElementsAre(NodeId{3}));
  EXPECT_THAT(verdict.summary, HasSubstr("SIGSEGV"));
}

TEST(Verdict, ARankThatEndedWellTooEarlyIsNamedAndNotItsVictims) {
  const RankExit done{.rank = 3};
  const Verdict verdict = diagnose(attempt_with({done, echo(0), echo(1)}));
  EXPECT_EQ(verdict.cause, CauseClass::kApplication);
  EXPECT_THAT(verdict.ranks, ElementsAre(3u));
  EXPECT_THAT(verdict.nodes, ElementsAre(NodeId{2}));
  EXPECT_THAT(verdict.summary, HasSubstr("rank 3 on n2 exited with status 0 while others"));
  EXPECT_EQ(diagnose(attempt_with({done, killed(5, SIGSEGV)})).ranks, std::vector{5u});
}

TEST(Verdict, AHangOfRanksThatWaitForOneThatEndedWell) {
  const std::string waits =
      "Current thread 0x1 (most recent call first):\n"
      "  File \"/x/torch/distributed/distributed_c10d.py\", line 1 in all_reduce\n";
  AttemptRecord attempt = attempt_with({{.rank = 1}});
  attempt.stalled = {0};
  attempt.stacks = {{.rank = 0, .answered = true, .text = waits}};
  EXPECT_THAT(diagnose(attempt).ranks, ElementsAre(1u));
  // One that is somewhere of its own, after the others are done, is itself what hangs.
  attempt.stacks[0].text =
      "Current thread 0x1 (most recent call first):\n  File \"t.py\", line 9 in up\n";
  EXPECT_THAT(diagnose(attempt).summary, HasSubstr("no progress"));
}

TEST(Verdict, TheStatusOfAShellTellsTheSignal) {
  const Verdict verdict = diagnose(attempt_with({{.rank = 2, .code = 137}, echo(0)}));
  EXPECT_EQ(verdict.cause, CauseClass::kUnknown);
  EXPECT_THAT(verdict.summary,
              HasSubstr("status 137: a process that it waited for was ended by SIGKILL"));
  EXPECT_EQ(diagnose(attempt_with({{.rank = 2, .code = 255}})).cause, CauseClass::kApplication);
}

TEST(Verdict, TheLastLineStandsInForAMissingException) {
  const RankExit exit{.rank = 2, .code = 1, .log_tail = "loading\nno such file: vocab.json\n\n"};
  EXPECT_THAT(diagnose(attempt_with({exit})).summary,
              HasSubstr("exited with status 1; its last output: no such file: vocab.json"));
}

TEST(Verdict, CausesAreBelievedInTheOrderOfTheHeader) {
  AttemptRecord attempt = attempt_with({});
  attempt.stalled = {3};
  const auto cause = [&] { return diagnose(attempt).cause; };
  EXPECT_THAT(diagnose(attempt).summary, HasSubstr("no progress"));
  attempt.exits.push_back(echo(0));
  EXPECT_THAT(diagnose(attempt).summary, HasSubstr("no progress"));
  attempt.exits.push_back(raised(1, "ValueError", "bad token"));
  EXPECT_EQ(cause(), CauseClass::kApplication);
  attempt.exits.push_back(killed(2, SIGKILL));
  EXPECT_EQ(cause(), CauseClass::kUnknown);
  attempt.exits.push_back(out_of_memory(4));
  EXPECT_EQ(cause(), CauseClass::kOutOfMemory);
  attempt.node_faults.push_back({"n2: xid 79", NodeId{2}, std::nullopt, Instant{}});
  EXPECT_EQ(cause(), CauseClass::kHost);
  EXPECT_THAT(diagnose(attempt).nodes, ElementsAre(NodeId{2}));
}

TEST(Verdict, AnExceptionIsTheApplicationsAndComesWithItsTraceback) {
  RankExit exit = raised(6, "ValueError", "loss is NaN");
  exit.traceback = "Traceback ...\n  File \"train.py\", line 7\nValueError: loss is NaN";
  const Verdict verdict = diagnose(attempt_with({exit, raised(7, "ValueError", "loss is NaN")}));
  EXPECT_EQ(verdict.cause, CauseClass::kApplication);
  EXPECT_EQ(verdict.confidence, Confidence::kHigh);
  EXPECT_EQ(verdict.action, Action::kRestartRanks);
  EXPECT_THAT(verdict.summary, HasSubstr("rank 6 on n4 raised ValueError: loss is NaN"));
  EXPECT_THAT(verdict.summary, HasSubstr("1 more"));
  EXPECT_EQ(verdict.evidence.back().what, exit.traceback);
}

TEST(Verdict, SigkillWithoutARecordBlamesNobody) {
  const Verdict verdict = diagnose(attempt_with({killed(0, SIGKILL), echo(1)}));
  EXPECT_EQ(verdict.cause, CauseClass::kUnknown);
  EXPECT_EQ(verdict.confidence, Confidence::kLow);
  EXPECT_EQ(verdict.action, Action::kRestartRanks);
}

TEST(Verdict, OutOfMemoryTellsUsedAndLimit) {
  const Verdict verdict = diagnose(attempt_with({echo(0), out_of_memory(3)}));
  EXPECT_EQ(verdict.cause, CauseClass::kOutOfMemory);
  EXPECT_THAT(verdict.summary, HasSubstr("rank 3 on n2"));
  EXPECT_THAT(verdict.summary, HasSubstr("used 900 MiB, limit 1024 MiB"));
}

TEST(Verdict, AMemoryErrorThatPythonRaisedCountsTheSame) {
  EXPECT_EQ(diagnose(attempt_with({raised(0, "MemoryError")})).cause, CauseClass::kOutOfMemory);
  EXPECT_EQ(diagnose(attempt_with({raised(0, "torch.cuda.OutOfMemoryError")})).cause,
            CauseClass::kOutOfMemory);
}

TEST(Verdict, WhatWeKilledOurselvesIsNoEvidenceExceptForMemory) {
  RankExit asked = killed(0, SIGKILL);
  asked.asked = true;
  EXPECT_THAT(diagnose(attempt_with({asked})).ranks, IsEmpty());
  asked = out_of_memory(0);
  asked.asked = true;
  EXPECT_EQ(diagnose(attempt_with({asked})).cause, CauseClass::kOutOfMemory);
}

TEST(Verdict, EchoesAloneAreTheInterconnects) {
  const Verdict verdict = diagnose(attempt_with({echo(2), echo(3)}));
  EXPECT_EQ(verdict.cause, CauseClass::kInterconnect);
  EXPECT_EQ(verdict.confidence, Confidence::kLow);
}

TEST(Verdict, APlannedRestartIsSchedulingUnlessSomethingBroke) {
  AttemptRecord attempt = attempt_with({});
  attempt.planned = "goes from 3 to 4 nodes after a commit";
  EXPECT_EQ(diagnose(attempt).cause, CauseClass::kScheduling);
  attempt.exits.push_back(raised(0, "ValueError"));
  EXPECT_EQ(diagnose(attempt).cause, CauseClass::kApplication);
}

TEST(IsEcho, AnAbortIsJudgedByWhatItPrintedLast) {
  RankExit abort = killed(0, SIGABRT);
  EXPECT_FALSE(is_echo(abort));
  abort.log_tail = "terminate called after throwing ... NCCL communicator was aborted on rank 0";
  EXPECT_TRUE(is_echo(abort));
  abort.signal = SIGSEGV;
  EXPECT_FALSE(is_echo(abort));
}

TEST(IsEcho, AnExceptionIsJudgedByItsMessageNotByTheLog) {
  RankExit exit = raised(0, "ValueError", "bad token");
  exit.log_tail = "earlier: Connection refused, retrying";
  EXPECT_FALSE(is_echo(exit));
  exit.error_message = "Socket Timeout";
  EXPECT_TRUE(is_echo(exit));
}

TEST(CondemnsNode, OnlyWhatAResetOrAReplacementCures) {
  for (const Action mild : {Action::kNone, Action::kRestartRanks, Action::kRestartOnOtherNodes,
                            Action::kStopJob, Action::kAskOperator})
    EXPECT_FALSE(condemns_node(Fault{.action = mild})) << word_of(mild);
  for (const Action drastic : {Action::kResetDevice, Action::kRebootNode, Action::kReplaceNode})
    EXPECT_TRUE(condemns_node(Fault{.action = drastic})) << word_of(drastic);
}

// --- hangs

agent_message::StacksCollected at(std::uint32_t rank, const std::string& frame) {
  return {.rank = rank,
          .answered = true,
          .process_state = "S (sleeping)",
          .text = "Current thread 0x0000712 (most recent call first):\n  File \"" + frame +
                  "\n  File \"/job/train.py\", line 88 in <module>\n"};
}
const std::string kBackward = "/usr/lib/torch/autograd/__init__.py\", line 200 in backward";
const std::string kAllReduce =
    "/usr/lib/torch/distributed/distributed_c10d.py\", line 1 in all_reduce";
const std::string kUserCode = "/job/train.py\", line 41 in load_batch";

TEST(OddRanks, TheOneInUserCodeWhileTheOthersWaitForIt) {
  EXPECT_THAT(odd_ranks({at(0, kBackward), at(1, kAllReduce), at(2, kUserCode), at(3, kBackward)}),
              ElementsAre(2u));
  EXPECT_THAT(odd_ranks({at(0, kUserCode), at(1, kBackward)}), ElementsAre(0u));
}

TEST(OddRanks, AStoppedRankDoesNotAnswer) {
  auto stopped = at(1, "");
  stopped.answered = false;
  stopped.process_state = "T (stopped)";
  stopped.text.clear();
  EXPECT_THAT(odd_ranks({at(0, kBackward), stopped, at(2, kUserCode)}), ElementsAre(1u));
}

TEST(OddRanks, AllWaitingIsJudgedByTheMinorityPlace) {
  EXPECT_THAT(odd_ranks({at(0, kBackward), at(1, kBackward), at(2, kAllReduce)}), ElementsAre(2u));
  EXPECT_THAT(odd_ranks({at(0, kBackward), at(1, kAllReduce)}), IsEmpty());  // no majority
}

TEST(OddRanks, NobodyWhenAllLookAlike) {
  EXPECT_THAT(odd_ranks({at(0, kUserCode), at(1, kUserCode)}), IsEmpty());
  EXPECT_THAT(odd_ranks({}), IsEmpty());
  auto silent = at(0, "");
  silent.answered = false;
  EXPECT_THAT(odd_ranks({silent, silent}), IsEmpty());
}

TEST(Verdict, AHangNamesTheOddRankAndKeepsAllStacks) {
  AttemptRecord attempt = attempt_with({});
  attempt.stalled = {0, 1, 2, 3, 4, 5, 6, 7};
  for (std::uint32_t rank = 0; rank < 8; ++rank)
    attempt.stacks.push_back(at(rank, rank == 5 ? kUserCode : kBackward));
  const Verdict verdict = diagnose(attempt);
  EXPECT_THAT(verdict.ranks, ElementsAre(5u));
  EXPECT_THAT(verdict.nodes, ElementsAre(NodeId{3}));
  EXPECT_EQ(verdict.confidence, Confidence::kMedium);
  EXPECT_EQ(verdict.evidence.size(), 8u);
  EXPECT_THAT(verdict.summary, HasSubstr("rank 5 on n3"));
  attempt.stacks.clear();
  EXPECT_THAT(diagnose(attempt).summary, HasSubstr("no rank's stack could be read"));
}

}  // namespace
}  // namespace holdfast
