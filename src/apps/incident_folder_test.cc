#include "apps/incident_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class IncidentFolderTest : public ScratchFolder {
 protected:
  void put(const std::string& name, const std::string& text) {
    const std::filesystem::path file = path(name);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::string error_of(const std::string& ranks) {
    put("ranks.json", ranks);
    const auto found = read_incident_folder(folder());
    return found.ok() ? "" : found.error().text();
  }
};

TEST_F(IncidentFolderTest, ReadsRanksLogsKernelLogsAndStacks) {
  put("ranks.json", R"({"started": "2026-11-24T04:00:00Z", "ranks": [
    {"rank": 1, "node": "gpu-b", "signal": "SIGKILL", "last_step": 7, "ended": 1795493179.5},
    {"rank": 0, "node": "gpu-a", "exit_code": null, "pid": 42}]})");
  put("logs/rank-1.log", "step 7 loss nan\n");
  put("stacks/rank-0.txt", "");
  put("kmsg/gpu-b.log",
      "hello\nNov 24 04:06:18 gpu-b kernel: NVRM: Xid (PCI:0000:b9:00): 79, pid=1, x\n");
  const auto found = read_incident_folder(folder());
  ASSERT_TRUE(found.ok()) << found.error().text();
  const IncidentEvidence& evidence = found->evidence;
  ASSERT_EQ(evidence.ranks.size(), 2u);
  EXPECT_EQ(evidence.ranks[0].state, RankEvidence::State::kRunning);
  EXPECT_EQ(evidence.ranks[0].stacks, "");
  EXPECT_EQ(evidence.ranks[1].exit.signal, 9);
  EXPECT_EQ(evidence.ranks[1].ended_ns, 1'795'493'179'500'000'000);
  EXPECT_EQ(evidence.ranks[1].log.nan_step, 7u);
  ASSERT_EQ(evidence.findings.size(), 1u);
  EXPECT_EQ(evidence.findings[0].node, evidence.ranks[1].node);
  EXPECT_EQ(evidence.findings[0].at_ns, 1'795'493'178'000'000'000);
  EXPECT_THAT(with_node_names(judge(evidence).summary, *found), HasSubstr("gpu-b: xid 79"));
}

TEST_F(IncidentFolderTest, AKernelLogOfAMachineWithoutARankIsNoCause) {
  put("ranks.json", R"([{"rank": 0, "node": "gpu-a.cluster.local", "exit_code": 1}])");
  put("kmsg/gpu-z.log", "NVRM: Xid (PCI:0000:b9:00): 79, GPU has fallen off the bus.\n");
  auto found = read_incident_folder(folder());
  ASSERT_TRUE(found.ok()) << found.error().text();
  EXPECT_TRUE(found->evidence.findings.empty());
  EXPECT_THAT(found->notes, ElementsAre(HasSubstr("no rank on gpu-z")));
  put("kmsg/gpu-a.log", "NVRM: Xid (PCI:0000:b9:00): 79, GPU has fallen off the bus.\n");
  found = read_incident_folder(folder());
  ASSERT_EQ(found->evidence.findings.size(), 1u) << "a name without its domain";
  EXPECT_EQ(found->evidence.findings[0].node, found->evidence.ranks[0].node);
}

TEST_F(IncidentFolderTest, FindingsOfProbesAreEvidenceToo) {
  effect::KeepEvidence kept{.incident = IncidentId{1}, .job = JobId{1}, .job_name = "train"};
  kept.attempt.number = Attempt{1};
  kept.attempt.nodes = {NodeId{3}};
  kept.attempt.node_faults = {
      {"n3: gpu_recovery on 0000:61:00; back 3 s after reset_device: NVML: GPU recovery action 2 "
       "(reboot_node); uncorrected ECC errors: 1 volatile",
       NodeId{3},
       {},
       {},
       CauseClass::kAccelerator}};
  ASSERT_TRUE(write_incident_folder(path("i1"), kept, WallTime{}, path("logs")).ok());
  const auto found = read_incident_folder(path("i1"));
  ASSERT_TRUE(found.ok()) << found.error().text();
  ASSERT_EQ(found->evidence.findings.size(), 1u);
  const Fault& fault = found->evidence.findings[0].fault;
  EXPECT_EQ(fault.kind, "gpu_recovery");
  EXPECT_EQ(fault.device, "0000:61:00");
  EXPECT_EQ(fault.action, Action::kRebootNode);
  const Verdict verdict = judge(found->evidence);
  EXPECT_EQ(verdict.cause, CauseClass::kAccelerator);
  EXPECT_EQ(verdict.action, Action::kRebootNode);
  EXPECT_THAT(with_node_names(verdict.summary, *found), HasSubstr("n3: gpu_recovery"));
}

TEST_F(IncidentFolderTest, BadInputNamesFieldValueAndRemedy) {
  EXPECT_THAT(read_incident_folder(folder() + "/none").error().text(), HasSubstr("HF1003"));
  EXPECT_THAT(error_of("{"), HasSubstr("no JSON"));
  EXPECT_THAT(error_of("[]"), HasSubstr("at least one rank"));
  EXPECT_THAT(error_of(R"([{"rank": 0}])"), HasSubstr("rank 0: node"));
  EXPECT_THAT(error_of(R"([{"rank": -1, "node": "n"}])"), HasSubstr("-1 is not allowed"));
  EXPECT_THAT(error_of(R"([{"rank": 1, "node": "n"}])"), HasSubstr("beyond the number of ranks"));
  EXPECT_THAT(error_of(R"([{"rank": 0, "node": "n", "signal": "SIGNONE"}])"), HasSubstr("SIGNONE"));
  EXPECT_THAT(error_of(R"([{"rank": 0, "node": "n", "exit_code": 999}])"), HasSubstr("999"));
  EXPECT_THAT(error_of(R"([{"rank": 0, "node": "n", "ended": "soon"}])"), HasSubstr("soon"));
  EXPECT_THAT(error_of(R"([{"rank": 0, "node": "n", "state": "gone"}])"), HasSubstr("gone"));
}

TEST_F(IncidentFolderTest, AFieldThatIsNotKnownIsToldOnce) {
  put("ranks.json", R"([{"rank": 0, "node": "n", "exit_code": 1, "gpu": 3}])");
  const auto found = read_incident_folder(folder());
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->notes, ElementsAre(HasSubstr("'gpu'")));
}

class KeptEvidenceTest : public ScratchFolder {
 protected:
  KeptEvidenceTest() {
    kept_.job_name = "gpt";
    kept_.attempts_without_progress = 1;
    AttemptRecord& attempt = kept_.attempt;
    attempt.number = Attempt{3};
    attempt.nodes = {NodeId{4}, NodeId{5}, NodeId{6}};
    RankExit exit{.rank = 0, .code = 1};
    exit.progress.step = 41;
    attempt.exits = {exit, {.rank = 1, .signal = 9, .asked = true}};
    attempt.nodes_lost = {NodeId{6}};
    attempt.node_faults = {
        {"n5: xid 79 on 0000:3b:00: NVRM: Xid (PCI:0000:3b:00): 79, pid=7, GPU has fallen off",
         NodeId{5},
         {},
         {},
         CauseClass::kAccelerator}};
    attempt.stacks = {{JobId{1}, Attempt{3}, 1, true, "S (sleeping)", "File \"train.py\""}};
    std::filesystem::create_directories(path("jobs"));
    std::ofstream(path("jobs/rank-0.log")) << "RuntimeError: no\n";
  }
  effect::KeepEvidence kept_;
};

TEST_F(KeptEvidenceTest, IsReadAsItWasWritten) {
  const std::string to = path("i1/a3");
  for (int again = 0; again < 2; ++again)  // also in place of an earlier one
    ASSERT_TRUE(
        write_incident_folder(to, kept_, WallTime{1'795'492'800'000'000'000}, path("jobs")).ok());
  std::ofstream(path("jobs/rank-0.log"), std::ios::app) << "and more\n";
  const auto found = read_incident_folder(to);
  ASSERT_TRUE(found.ok()) << found.error().text();
  EXPECT_THAT(found->notes, ::testing::IsEmpty());
  const IncidentEvidence& evidence = found->evidence;
  ASSERT_EQ(evidence.ranks.size(), 3u);
  EXPECT_EQ(evidence.ranks[0].exit.code, 1);
  EXPECT_EQ(evidence.ranks[0].last_step, 41u);
  EXPECT_EQ(evidence.ranks[1].state, RankEvidence::State::kRunning);
  EXPECT_EQ(evidence.ranks[1].stacks, "File \"train.py\"");
  EXPECT_EQ(evidence.ranks[2].state, RankEvidence::State::kLost);
  ASSERT_EQ(evidence.findings.size(), 1u);
  EXPECT_EQ(evidence.findings[0].fault.code, 79);
  EXPECT_EQ(evidence.attempts_without_progress, 1u);
  EXPECT_EQ(evidence.started_ns, 1'795'492'800'000'000'000);
  std::ifstream log(to + "/logs/rank-0.log");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(log), {}), "RuntimeError: no\nand more\n");
}

}  // namespace
}  // namespace holdfast
