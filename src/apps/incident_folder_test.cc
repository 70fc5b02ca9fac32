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

}  // namespace
}  // namespace holdfast
