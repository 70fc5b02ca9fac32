#include "api/check_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::HasSubstr;

std::vector<CheckResult> read(const std::string& text, int code = 0) {
  return read_check_output("script", {.code = code, .text = text});
}

TEST(CheckOutput, TheLineOfHyperPod) {
  const auto results =
      read("starting\nHEALTH_CHECK_RESULT:ip-10-0-0-7:Failed:replace:GPU 3: 2 rows\n");
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].test, "script");
  EXPECT_EQ(results[0].verdict, CheckVerdict::kFailed);
  EXPECT_EQ(results[0].action, Action::kReplaceNode);
  EXPECT_EQ(results[0].reason, "GPU 3: 2 rows");
  EXPECT_THAT(results[0].log, HasSubstr("starting"));
  EXPECT_EQ(read("HEALTH_CHECK_RESULT:fe80::1:Skipped:none:no card")[0].verdict,
            CheckVerdict::kSkipped);
  EXPECT_EQ(read("HEALTH_CHECK_RESULT:h:Passed:none:")[0].verdict, CheckVerdict::kPassed);
  EXPECT_EQ(read("HEALTH_CHECK_RESULT:h:Passed:none")[0].verdict, CheckVerdict::kPassed);
}

TEST(CheckOutput, TheLastLineCountsAndAMisspeltOneFails) {
  EXPECT_EQ(read("HEALTH_CHECK_RESULT:h:Failed:reboot:a\nHEALTH_CHECK_RESULT:h:Passed:none:b\n")[0]
                .verdict,
            CheckVerdict::kPassed);
  for (const char* line : {"HEALTH_CHECK_RESULT:h:passed:none:", "HEALTH_CHECK_RESULT:h:Passed",
                           "HEALTH_CHECK_RESULT:", "HEALTH_CHECK_RESULT:h:Passed:retire:x"})
    EXPECT_EQ(read(line)[0].verdict, CheckVerdict::kFailed) << line;
}

TEST(CheckOutput, JsonOnTheLastLine) {
  const auto results = read(
      "noise {\n{\"verdict\": \"Passed\", \"value\": 12.5, \"unit\": \"GB/s\", \"reason\": "
      "\"ok\"}\n");
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].value, 12'500);
  EXPECT_EQ(results[0].unit, "GB/s");
  const auto several = read(R"({"results": [{"test": "a", "value": 1, "unit": "us",
"less_is_better": true}, {"test": "b", "verdict": "Failed", "action": "reboot"}]})");
  EXPECT_EQ(several.size(), 1u) << "more than one line is no JSON line";
  const auto two =
      read(R"({"results": [{"test": "a", "value": 1, "unit": "us", "less_is_better": true}, )"
           R"({"test": "b", "verdict": "Failed", "action": "reboot"}]})");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_TRUE(two[0].less_is_better);
  EXPECT_EQ(two[1].action, Action::kRebootNode);
}

TEST(CheckOutput, WhatIsNotUnderstoodFails) {
  for (const char* line :
       {R"({"verdict": "passed"})", R"({"verdikt": "Passed"})", R"({"value": 1})",
        R"({"value": -1, "unit": "s"})", R"({"value": 1e300, "unit": "s"})",
        R"({"value": "1", "unit": "s"})", R"({"action": "burn"})", R"({"results": [1]})",
        R"({"results": [{"x": 1}]})", R"({"unit": "GB/s"})"})
    EXPECT_EQ(read(line)[0].verdict, CheckVerdict::kFailed) << line;
}

TEST(CheckOutput, JsonThatNestsWithoutEndFailsTheCheckAndNotTheAgent) {
  const std::string deep = std::string(500'000, '[') + std::string(500'000, ']');
  EXPECT_EQ(read(R"({"verdict": )" + deep + "}")[0].verdict, CheckVerdict::kPassed);
  EXPECT_EQ(read(R"({"verdict": )" + deep + "}", 1)[0].verdict, CheckVerdict::kFailed);
}

TEST(CheckOutput, TheEndDecidesOverWhatWasSaid) {
  EXPECT_EQ(read("all is well\n")[0].verdict, CheckVerdict::kPassed);
  EXPECT_EQ(read("", 3)[0].reason, "ended with status 3");
  const auto liar = read("HEALTH_CHECK_RESULT:h:Passed:none:\n", 1);
  EXPECT_EQ(liar.back().verdict, CheckVerdict::kFailed);
  const auto honest = read("HEALTH_CHECK_RESULT:h:Failed:replace:bad\n", 1);
  ASSERT_EQ(honest.size(), 1u) << "its status says nothing new";
  EXPECT_EQ(honest[0].reason, "bad");
  EXPECT_THAT(
      read_check_output("s", {.signal = 9, .timed_out = true, .took = seconds(20)}).back().reason,
      HasSubstr("did not end within 20 s"));
  EXPECT_THAT(read_check_output("s", {.signal = 9, .flooded = true}).back().reason,
              HasSubstr("more than any check needs"));
}

TEST(CheckOutput, BytesThatAreNoTextDoNotSpoilIt) {
  const auto results = read(std::string("\x1b[31m\xff\xfe") + '\0' + "x\n", 1);
  EXPECT_EQ(results[0].log.find('\x1b'), std::string::npos);
  EXPECT_LE(read(std::string(1 << 20, 'a'))[0].log.size(), kCheckLogMax);
}

// As fio 3.33 prints it, most fields left out.
TEST(CheckOutput, Fio) {
  const std::string text =
      "fio: this platform does not ...\n"
      R"({"fio version": "fio-3.33", "jobs": [{"jobname": "deep-check", "error": 0,
          "read": {"io_bytes": 1, "bw_bytes": 209715200}, "write": {"bw_bytes": 104857600}}]})";
  const auto results = read_fio_output({.text = text});
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].test, "disk_write");
  EXPECT_EQ(results[0].value, 100'000);
  EXPECT_EQ(results[0].unit, "MiB/s");
  EXPECT_EQ(results[1].value, 200'000);
  const auto damaged = read_fio_output({.code = 1, .text = R"({"jobs": [{"error": 84}]})"});
  EXPECT_EQ(damaged.back().action, Action::kReplaceNode);
  EXPECT_EQ(read_fio_output({.text = "no json"})[0].verdict, CheckVerdict::kFailed);
}

// The shapes that NVIDIA documents; no card has been here.
TEST(CheckOutput, DcgmiAndNcclTests) {
  const std::string diag =
      R"({"DCGM GPU Diagnostic": {"test_categories": [{"category": "Hardware", "tests": [
          {"name": "Memory", "results": [{"gpu_ids": "0", "status": "PASS"},
           {"gpu_ids": "1", "status": "FAIL", "warnings": "row remap"}]}]}]}})";
  const auto failed = read_dcgmi_output({.code = 226, .text = diag});
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_THAT(failed[0].reason, HasSubstr("Memory failed: \"row remap\""));
  EXPECT_EQ(read_dcgmi_output({.text = "{}"})[0].verdict, CheckVerdict::kFailed);
  const std::string perf = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 235.6\n#\n";
  const auto nccl = read_nccl_output({.text = perf});
  ASSERT_EQ(nccl.size(), 1u);
  EXPECT_EQ(nccl[0].value, 235'600);
  EXPECT_EQ(read_nccl_output({.text = "# Out of bounds values : 2 FAILED\n"}).back().action,
            Action::kReplaceNode);
}

}  // namespace
}  // namespace holdfast
