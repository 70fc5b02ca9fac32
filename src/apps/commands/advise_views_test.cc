#include "apps/commands/advise_views.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "sim/scenario_file.h"

namespace holdfast {
namespace {

AdviceShown llama3() {
  AdviceShown shown;
  shown.inputs.nodes = 2048;
  shown.inputs.node_mtbf_s = 264.0 * 86'400;
  shown.inputs.stall_s = 0.5;
  shown.inputs.write_s = 10;
  shown.inputs.restart_s = 60;
  shown.inputs.repair_s = 14 * 3600;
  shown.advice = advise(shown.inputs);
  return shown;
}

TEST(AdviseViews, TextSaysWhatToDo) {
  AdviceShown shown = llama3();
  const std::string text = advice_text(shown, Paint{});
  EXPECT_NE(text.find("checkpoint every    1 min 45 s"), text.npos) << text;
  EXPECT_NE(text.find("spares              13"), text.npos) << text;
  EXPECT_NE(text.find("one more spare"), text.npos);
  EXPECT_NE(text.find("restart 10.0 s faster"), text.npos);
  EXPECT_EQ(text.find("simulated"), text.npos);
  shown.simulated.push_back({105, 0.98, 0.981, minutes(7200), 40});
  EXPECT_NE(advice_text(shown, Paint{}).find("98.00 %"), text.npos);
}

TEST(AdviseViews, JsonHasTheAnswer) {
  const nlohmann::json json = advice_json(llama3());
  EXPECT_EQ(json["spares"], 13);
  EXPECT_NEAR(json["interval_s"].get<double>(), 105, 1);
  EXPECT_TRUE(json["goodput_simulated"].is_null());
  EXPECT_EQ(json["curve"].size(), 161u);
}

TEST(AdviseViews, PageStandsOnItsOwn) {
  AdviceShown shown = llama3();
  shown.simulated = {{105, 0.985, 0.984, minutes(7200), 40}, {420, 0.97, 0.971, minutes(7200), 41}};
  shown.notes = {"this cluster: <4> nodes"};
  const std::string page = advice_page(shown);
  if (const char* folder = std::getenv("HF_REPORT_FOLDER"))
    std::ofstream(std::string(folder) + "/advise.html") << page;
  EXPECT_EQ(page.find("http"), page.npos);
  EXPECT_EQ(page.find("<4>"), page.npos);
  EXPECT_NE(page.find("<circle"), page.npos);
}

TEST(AdviseViews, ThePointIsAValidScenario) {
  const AdviceShown shown = llama3();
  const sim::Scenario scenario = advised_scenario(shown.inputs, 105, 10, minutes(7200));
  const auto checked = sim::check_scenario(scenario);
  EXPECT_TRUE(checked.ok()) << checked.error().text();
  // One node in 264 days.
  EXPECT_NEAR(static_cast<double>(scenario.faults[0].per_billion_hours), 1e9 / (264 * 24), 1);
}

}  // namespace
}  // namespace holdfast
