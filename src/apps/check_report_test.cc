#include "apps/check_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/commands/check_views.h"
#include "model/check.h"
#include "model/cluster.h"
#include "model/codec.h"

namespace holdfast {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

json run_of_five() {
  CheckRun run;
  run.id = CheckId{1};
  run.state = CheckRunState::kEnded;
  for (std::uint32_t n = 1; n <= 5; ++n) {
    const bool bad = n == 3;
    run.members.push_back({.node = NodeId{n},
                           .status = bad ? CheckStatus::kFailed : CheckStatus::kPassed,
                           .reason = bad ? "slow <memory>" : ""});
    run.results.push_back({.test = "memory_bandwidth",
                           .node = NodeId{n},
                           .verdict = bad ? CheckVerdict::kFailed : CheckVerdict::kPassed,
                           .value = bad ? 2000 : 10'000 + n,
                           .unit = "GB/s",
                           .threshold = 6000,
                           .log = "tail & more"});
    if (n > 1)
      run.results.push_back(
          {.test = "link", .node = NodeId{n}, .peer = NodeId{1}, .value = 1000, .unit = "GB/s"});
  }
  return to_json_value(run);
}

TEST(CheckReport, APageThatNeedsNothingButItself) {
  json nodes = json::array();
  for (int n = 1; n <= 5; ++n)
    nodes.push_back({{"id", "n" + std::to_string(n)}, {"state", "healthy"}});
  const std::string page = check_report_page(json::array({run_of_five()}), nodes, {"n3"});
  EXPECT_THAT(page, HasSubstr("memory_bandwidth"));
  EXPECT_THAT(page, HasSubstr("slow &lt;memory&gt;"));
  EXPECT_THAT(page, HasSubstr("tail &amp; more"));
  EXPECT_THAT(page, HasSubstr("n3: 2.00 GB/s"));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
}

TEST(CheckReport, ARunOfAnotherVersionAndNoneAtAll) {
  EXPECT_THAT(check_report_page(json::array(), json::array(), {}), HasSubstr("Deep checks"));
  const json odd = json::parse(R"([{"results": [{"unit": 3}, {"test": "x", "unit": "GB/s"}]}])");
  EXPECT_THAT(check_report_page(odd, json::array(), {}), HasSubstr("Deep checks"));
}

TEST(CheckViews, ProgressAndTable) {
  json run = run_of_five();
  EXPECT_THAT(check_progress_line(run), HasSubstr("done"));
  run["state"] = "running";
  run["steps"] = json::array({{{"test", "cpu"}, {"round", 0}, {"only", json::array()}},
                              {{"test", "link"}, {"round", 1}, {"only", json::array()}}});
  run["step"] = 1;
  run["waiting_for"] = {"n1", "n2"};
  EXPECT_THAT(check_progress_line(run), HasSubstr("step 2 of 2, link round 2: n1, n2"));
  const std::string page = check_page(run, {"n3"}, {});
  EXPECT_THAT(page, HasSubstr("n3 Failed: slow <memory>"));
  EXPECT_THAT(page, HasSubstr("2.00 GB/s"));
  EXPECT_THAT(page, HasSubstr(">= 6.00 GB/s"));
  EXPECT_THAT(page, Not(HasSubstr("n4")));
}

}  // namespace
}  // namespace holdfast
