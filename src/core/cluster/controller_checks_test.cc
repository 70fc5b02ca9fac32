#include <algorithm>

#include "core/checks/plan.h"
#include "core/cluster/controller_fixture_test.h"

namespace holdfast {
namespace {

using server_message::StartCheck;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const std::vector<CheckKind> kStress = {CheckKind::kInstanceStress};
const std::vector<CheckKind> kBoth = {CheckKind::kInstanceStress, CheckKind::kInstanceConnectivity};

class ChecksTest : public ControllerTest {
 protected:
  const CheckRun& run(std::uint32_t id = 1) const {
    return controller_.state().checks.at(CheckId{id});
  }
  void fire_check(std::uint32_t id = 1) {
    const TimerId timer{.kind = TimerKind::kCheck, .check = CheckId{id}};
    ASSERT_TRUE(timers_.contains(timer));
    now_ = std::max(now_, timers_.at(timer));
    step(event::TimerFired{timer});
  }
  void ask(std::vector<std::uint32_t> nodes, std::vector<CheckKind> kinds = kStress,
           bool drain = false) {
    event::ChecksAsked asked{.kinds = std::move(kinds), .drain = drain, .by = "operator"};
    for (const std::uint32_t n : nodes) asked.nodes.push_back(NodeId{n});
    step(asked);
  }
  void report(std::uint32_t n, std::vector<CheckResult> results, std::uint32_t id = 1) {
    step(event::CheckReported{
        NodeId{n}, {.check = CheckId{id}, .step = run(id).step, .results = std::move(results)}});
  }
  // All answer all steps, `bad` fails at the test of that name.
  void play(std::uint32_t bad = 0, const std::string& test = "gemm", std::uint32_t id = 1) {
    while (run(id).state != CheckRunState::kEnded) {
      if (run(id).state == CheckRunState::kWaiting || run(id).waiting_for.empty()) {
        fire_check(id);
        continue;
      }
      const CheckStep now = run(id).steps[run(id).step];
      const NodeId n = *run(id).waiting_for.begin();
      const bool fails = n == NodeId{bad} && now.test == test;
      report(n.value,
             {{.test = now.test,
               .verdict = fails ? CheckVerdict::kFailed : CheckVerdict::kPassed,
               .action = fails ? Action::kReplaceNode : Action::kNone,
               .reason = fails ? "wrong" : ""}},
             id);
    }
  }
};

TEST_F(ChecksTest, AnIdleNodeIsHeldTestedAndWorksAgain) {
  make_cluster({.groups = one_group(2, 1)});
  ask({1});
  EXPECT_EQ(node(1).state, NodeState::kDeepHealthCheck);
  EXPECT_EQ(node(1).check_status, CheckStatus::kInProgress);
  EXPECT_EQ(place(3), 1u) << "a spare takes its place meanwhile";
  submit(2, 2);
  EXPECT_THAT(started(), ElementsAre(3, 2));
  fire_check();
  EXPECT_THAT(told<StartCheck>(), ElementsAre(1));
  play();
  EXPECT_EQ(node(1).state, NodeState::kHealthy);
  EXPECT_EQ(node(1).check_status, CheckStatus::kPassed);
  EXPECT_EQ(place(1), 0u);
  EXPECT_THAT(told<server_message::WarmUp>(), ElementsAre(1));
}

TEST_F(ChecksTest, ANodeThatFailsIsReplacedAndTheIncidentTellsWhy) {
  make_cluster({.groups = one_group(3, 1)});
  ask({2});
  play(2);
  EXPECT_EQ(node(2).state, NodeState::kReplacing);
  EXPECT_EQ(node(2).check_status, CheckStatus::kFailed);
  EXPECT_EQ(place(4), 2u);
  EXPECT_EQ(incident().state, IncidentState::kRecovered);
  EXPECT_FALSE(incident().job);
  ASSERT_EQ(incident().verdicts.size(), 1u);
  EXPECT_EQ(incident().verdicts[0].action, Action::kReplaceNode);
  EXPECT_EQ(incident().verdicts[0].nodes, std::vector<NodeId>{NodeId{2}});
  EXPECT_THAT(incident().verdicts[0].evidence.at(0).what, HasSubstr("gemm failed: wrong"));
}

TEST_F(ChecksTest, WhatHasFailedIsAskedNothingMore) {
  make_cluster({.groups = one_group(1)});
  ask({1});
  fire_check();
  report(1, {{.test = "cpu", .verdict = CheckVerdict::kFailed}});
  EXPECT_EQ(run().state, CheckRunState::kEnded);
}

TEST_F(ChecksTest, OnStartNobodyWorksBeforeAllOfItHasPassed) {
  ClusterSpec spec{.groups = one_group(3, 1)};
  spec.checks.on_start = kBoth;
  make_cluster(spec);
  for (std::uint32_t n = 1; n <= 4; ++n) EXPECT_EQ(node(n).state, NodeState::kDeepHealthCheck);
  EXPECT_EQ(controller_.state().checks.size(), 1u) << "all together";
  submit(3, 3);
  EXPECT_THAT(started(), IsEmpty());
  play(2);
  EXPECT_THAT(started(), UnorderedElementsAre(1, 4, 3)) << "the spare in place of the bad one";
  EXPECT_EQ(node(2).state, NodeState::kReplacing);
  EXPECT_EQ(node(5).state, NodeState::kProvisioning);
  join(5);
  EXPECT_EQ(node(5).state, NodeState::kDeepHealthCheck);
}

TEST_F(ChecksTest, MachinesThatComeBadAgainAndAgainAreNotAskedForForEver) {
  ClusterSpec spec{.groups = one_group(1)};
  spec.checks.on_start = kStress;
  make_cluster(spec);
  for (std::uint32_t n = 1; n <= kProvisioningFailuresMax; ++n) {
    now_ = now_ + minutes(1);  // beyond the breaker's window
    if (n > 1) join(n);
    play(n, "gemm", n);
  }
  EXPECT_THAT(audit("pool.not_refilled"), HasSubstr("3 machines in a row"));
}

TEST_F(ChecksTest, ANodeWithRanksIsRefusedOrDrained) {
  make_cluster({.groups = one_group(4, 1)});
  submit(4, 4);
  run_to(100);
  event::ChecksAsked asked{{NodeId{2}}, kStress, false, "operator"};
  const auto refused = controller_.check(asked);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kWrongState);
  EXPECT_THAT(refused.error().detail, HasSubstr("runs ranks of job 'gpt'"));
  step(asked);
  EXPECT_EQ(node(2).state, NodeState::kHealthy);
  ask({2}, kStress, true);
  EXPECT_THAT(stopped(), ElementsAre(1, 2, 3, 4));
  fire_check();
  EXPECT_EQ(run().state, CheckRunState::kWaiting) << "its ranks live";
  drain_all();
  EXPECT_THAT(started(), ElementsAre(1, 5, 3, 4));
  EXPECT_EQ(job().last_verdict->cause, CauseClass::kScheduling);
  EXPECT_EQ(job().attempts_without_progress, 0u);
  fire_check();
  EXPECT_THAT(told<StartCheck>(), ElementsAre(2));
  play();
  EXPECT_EQ(node(2).state, NodeState::kHealthy);
}

TEST_F(ChecksTest, ANodeThatIsLostMeanwhileHoldsNobodyUp) {
  make_cluster({.groups = one_group(3)});
  ask({1, 2, 3}, kBoth);
  fire_check();
  report(1, {{.test = "cpu"}});
  report(3, {{.test = "cpu"}});
  lose({2});
  EXPECT_EQ(node(2).state, NodeState::kGone);
  play();
  EXPECT_EQ(node(1).state, NodeState::kHealthy);
  EXPECT_EQ(node(3).state, NodeState::kHealthy);
  EXPECT_EQ(run().members[1].status, CheckStatus::kFailed);
}

TEST_F(ChecksTest, OneThatDoesNotAnswerFailsWhenItsTimeIsOver) {
  make_cluster({.groups = one_group(2)});
  ask({1, 2});
  fire_check();
  report(1, {{.test = "cpu"}});
  fire_check();
  EXPECT_EQ(run().step, 0u) << "the time is not over";
  fire_check();
  EXPECT_THAT(told<server_message::StopCheck>(), ElementsAre(2));
  play();
  EXPECT_EQ(node(1).state, NodeState::kHealthy);
  EXPECT_EQ(node(2).state, NodeState::kRebooting);
}

TEST_F(ChecksTest, TheBudgetOfAllEndsItAndWhatWasNotDoneHasNotPassed) {
  ClusterSpec spec{.groups = one_group(4)};
  spec.checks.budget = seconds(30);
  make_cluster(spec);
  ask({1});
  fire_check();
  now_ = now_ + seconds(31);
  report(1, {{.test = "cpu"}});
  EXPECT_EQ(run().state, CheckRunState::kEnded);
  EXPECT_EQ(node(1).check_status, CheckStatus::kFailed);
  EXPECT_THAT(run().results.back().reason, HasSubstr("the budget of 30 s was used up"));
}

TEST_F(ChecksTest, ManyThatFailAtOnceOpenTheBreakerAndNoneWorks) {
  make_cluster({.groups = one_group(4)});
  ask({1, 2, 3, 4});
  while (run().state != CheckRunState::kEnded) {
    if (run().waiting_for.empty()) {
      fire_check();
      continue;
    }
    report(run().waiting_for.begin()->value, {{.test = "cpu", .verdict = CheckVerdict::kFailed}});
  }
  EXPECT_TRUE(controller_.state().breaker.open);
  for (std::uint32_t n = 1; n <= 4; ++n) EXPECT_EQ(node(n).state, NodeState::kSuspect);
  EXPECT_EQ(incident(1).state, IncidentState::kOpen);
  submit(1, 1);
  EXPECT_THAT(started(), IsEmpty());
  join(1);  // a new stream is no new verdict
  lose({1});
  join(1);
  EXPECT_EQ(node(1).state, NodeState::kSuspect);
  step(event::BreakerCloseAsked{"operator"});
  EXPECT_EQ(node(1).state, NodeState::kRebooting);
  EXPECT_EQ(incident(1).state, IncidentState::kRecovered);
}

TEST_F(ChecksTest, ASingleNodeMeasuresItsLinksWithIdleOnes) {
  make_cluster({.groups = one_group(2, 3)});
  ask({1}, {CheckKind::kInstanceConnectivity});
  fire_check();
  ASSERT_EQ(run().members.size(), 3u);
  EXPECT_TRUE(run().members[1].is_partner && run().members[2].is_partner);
  play();
  for (std::uint32_t n = 1; n <= 5; ++n) EXPECT_EQ(node(n).state, NodeState::kHealthy);
  EXPECT_EQ(node(1).check_status, CheckStatus::kPassed);
}

TEST_F(ChecksTest, AloneThereIsNoLinkToMeasure) {
  make_cluster({.groups = one_group(1)});
  ask({1}, {CheckKind::kInstanceConnectivity});
  fire_check();
  EXPECT_EQ(run().state, CheckRunState::kEnded);
  EXPECT_EQ(run().results.at(0).verdict, CheckVerdict::kSkipped);
  EXPECT_EQ(node(1).state, NodeState::kHealthy);
}

TEST_F(ChecksTest, AfterARestartOrAReconnectTheStepIsToldAgain) {
  make_cluster({.groups = one_group(2)});
  ask({1});
  fire_check();
  join(1);
  ASSERT_THAT(told<StartCheck>(), ElementsAre(1));
  EXPECT_EQ(sent_to<StartCheck>(1).at(0).step, 0u);
  step(event::ServerStarted{});
  EXPECT_TRUE(timers_.contains({.kind = TimerKind::kCheck, .check = CheckId{1}}));
  report(1, {{.test = "cpu"}});
  step(event::CheckReported{NodeId{1}, {.check = CheckId{1}, .step = 0}});  // told twice
  EXPECT_EQ(run().step, 1u);
  step(event::CheckReported{NodeId{2}, {.check = CheckId{1}, .step = 1}});  // not asked
  EXPECT_EQ(run().step, 1u);
}

// Found by the simulator: a control plane that was away for long failed all that it had asked.
TEST_F(ChecksTest, TheTimeInWhichTheControlPlaneWasAwayIsNobodys) {
  make_cluster({.groups = one_group(2)});
  ask({1});
  fire_check();
  now_ = now_ + minutes(60);
  step(event::ServerStarted{});
  fire_check();
  EXPECT_EQ(run().step, 0u);
  now_ = now_ + minutes(60);  // it stood still
  step(event::TimerFired{{.kind = TimerKind::kCheck, .check = CheckId{1}}});
  EXPECT_EQ(run().step, 0u);
  play();
  EXPECT_EQ(node(1).state, NodeState::kHealthy);
}

TEST_F(ChecksTest, AFaultThatATestProvokesFailsTheNode) {
  make_cluster({.groups = one_group(2, 1)});
  ask({1});
  fire_check();
  xid(1, 79, Action::kReplaceNode);
  EXPECT_EQ(node(1).state, NodeState::kDeepHealthCheck);
  play();
  EXPECT_EQ(node(1).state, NodeState::kReplacing);
  EXPECT_THAT(incident().verdicts[0].summary, HasSubstr("xid 79 while it was checked"));
}

TEST_F(ChecksTest, WhatHasFailedWorksOnlyOnceItHasPassedAfterItsCure) {
  make_cluster({.groups = one_group(3, 1)});
  ask({2});
  fire_check();
  report(2, {{.test = "cpu",
              .verdict = CheckVerdict::kFailed,
              .action = Action::kRebootNode,
              .reason = "slow"}});
  EXPECT_EQ(node(2).state, NodeState::kRebooting);
  step(event::NodeJoined{{.node = NodeId{2}, .address = "10.0.0.2", .pid = node(2).pid + 1}});
  EXPECT_EQ(node(2).state, NodeState::kDeepHealthCheck);
  EXPECT_EQ(run(2).by, "repair");
  play(0, "", 2);
  EXPECT_EQ(node(2).state, NodeState::kHealthy);
  EXPECT_EQ(node(2).check_status, CheckStatus::kPassed);
}

TEST_F(ChecksTest, AfterARepairWhereThatIsConfigured) {
  ClusterSpec spec{.groups = one_group(3, 1)};
  spec.checks.after_repair = kStress;
  make_cluster(spec);
  step(event::NodeFault{NodeId{2}, {.kind = "xid", .action = Action::kRebootNode}});
  EXPECT_EQ(node(2).state, NodeState::kRebooting);
  step(event::NodeJoined{{.node = NodeId{2}, .address = "10.0.0.2", .pid = node(2).pid + 1}});
  EXPECT_EQ(node(2).state, NodeState::kDeepHealthCheck);
  play();
  EXPECT_EQ(node(2).state, NodeState::kHealthy);
}

// What the monitors tell while it is checked keeps work away afterwards.
TEST_F(ChecksTest, AnObstacleThatCameMeanwhileHoldsItBack) {
  make_cluster({.groups = one_group(2, 1)});
  ask({1});
  step(event::NodeFault{
      NodeId{1}, {.kind = "disk_full", .action = Action::kRestartOnOtherNodes}, true});
  play();
  EXPECT_EQ(node(1).state, NodeState::kSuspect);
}

TEST_F(ChecksTest, WhoWaitsForAPeerThatIsOutHasNotFailed) {
  make_cluster({.groups = one_group(4)});
  ask({1, 2, 3, 4}, {CheckKind::kInstanceConnectivity});
  fire_check();
  const std::vector<NodeId> pair = groups_of(run().steps[0], run().members, {}).front();
  step(event::NodeFault{pair[0], {.kind = "xid", .code = 79, .action = Action::kReplaceNode}});
  while (run().waiting_for.size() > 2) {
    const auto other = std::ranges::find_if(
        run().waiting_for, [&](NodeId id) { return std::ranges::find(pair, id) == pair.end(); });
    report(other->value, {});
  }
  step(event::ServerStarted{});  // tells the rest again what to do: there is nothing
  const std::uint32_t at = run().step;
  while (run().step == at) fire_check();
  play();
  EXPECT_EQ(node(pair[0].value).check_status, CheckStatus::kFailed);
  EXPECT_EQ(node(pair[1].value).check_status, CheckStatus::kPassed);
}

TEST_F(ChecksTest, WhatANodeSaysIsBounded) {
  make_cluster({.groups = one_group(1)});
  ask({1});
  fire_check();
  CheckResult huge{.test = std::string(1000, 't'), .peer = NodeId{77}, .value = -5, .unit = "GB/s"};
  huge.log = std::string(8192, 'l');
  report(1, std::vector(100, huge));
  EXPECT_LE(run().results.size(), 64u);
  EXPECT_EQ(run().results[0].test.size(), 64u);
  EXPECT_LE(run().results[0].log.size(), 4096u);
  EXPECT_FALSE(run().results[0].peer);
  EXPECT_EQ(run().results[0].verdict, CheckVerdict::kFailed);
}

TEST_F(ChecksTest, RequestsThatCannotBe) {
  make_cluster({.groups = one_group(2)});
  const auto code = [&](std::vector<NodeId> nodes, std::vector<CheckKind> kinds) {
    const auto allowed = controller_.check(event::ChecksAsked{nodes, kinds, false, "operator"});
    return allowed.ok() ? "ok" : std::string(code_of(allowed.error().code));
  };
  EXPECT_EQ(code({}, kStress), "HF1001");
  EXPECT_EQ(code({NodeId{1}}, {}), "HF1001");
  EXPECT_EQ(code({NodeId{1}, NodeId{1}}, kStress), "HF1001");
  EXPECT_EQ(code({NodeId{9}}, kStress), "HF1003");
  EXPECT_EQ(code({NodeId{1}}, kStress), "ok");
  ask({1});
  EXPECT_EQ(code({NodeId{1}}, kStress), "HF1005");
}

}  // namespace
}  // namespace holdfast
