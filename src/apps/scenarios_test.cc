#include "apps/scenarios.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "sim/expectation.h"
#include "sim/run.h"

namespace holdfast {
namespace {

TEST(Scenarios, EachIsValidAndNamedAsItsFile) {
  const std::vector<std::string> names = scenario_names();
  EXPECT_GE(names.size(), 20u);
  for (const std::string& name : names) {
    const auto scenario = load_scenario(name);
    ASSERT_TRUE(scenario.ok()) << scenario.error().text();
    EXPECT_EQ(scenario->name, name);
    EXPECT_FALSE(scenario->about.empty()) << name;
  }
}

TEST(Scenarios, AFileAndAMisspelling) {
  const std::string path = testing::TempDir() + "own.yaml";
  std::ofstream(path) << "name: own\nduration: 1h\ntopology: {nodes: 2}\njobs: [{name: j}]";
  const auto own = load_scenario(path);
  ASSERT_TRUE(own.ok()) << own.error().text();
  EXPECT_EQ(own->name, "own");
  EXPECT_EQ(load_scenario("lama3-16k").error().text(),
            "HF1003: no scenario `lama3-16k`; did you mean `llama3-16k`?");
  EXPECT_EQ(load_scenario("zzz").error().code, Errc::kNotFound);
  EXPECT_FALSE(load_scenario("/nowhere/at/all.yaml").ok());
}

// The fault table, and whatever else is small: what each says must come out, from three seeds.
TEST(Scenarios, EachSmallOneComesOutAsItSays) {
  int tried = 0;
  for (const std::string& name : scenario_names()) {
    const auto scenario = load_scenario(name);
    ASSERT_TRUE(scenario.ok()) << name;
    if (scenario->duration > minutes(24 * 60) || scenario->topology.nodes > 300) continue;
    ++tried;
    for (const std::uint64_t seed : {1, 7, 42}) {
      const sim::Outcome outcome = sim::run(*scenario, seed);
      std::vector<sim::Violation> violations = outcome.violations;
      for (const sim::Violation& unmet : sim::unmet_expectations(*scenario, outcome))
        violations.push_back(unmet);
      for (const sim::Violation& violation : violations)
        ADD_FAILURE() << "holdfast sim run " << name << " --seed " << seed << ": "
                      << violation.checker << ": " << violation.text;
      EXPECT_EQ(sim::sum(outcome.totals), outcome.whole) << name;
      EXPECT_EQ(sim::run(*scenario, seed).digest, outcome.digest) << name;
    }
  }
  EXPECT_GE(tried, 15);
}

// Rates in the files are those that their comments say.
TEST(Scenarios, Llama3FailsAsOftenAsItsTableSays) {
  const auto scenario = load_scenario("llama3-16k");
  ASSERT_TRUE(scenario.ok());
  const std::uint64_t hours = 54 * 24;
  std::uint64_t billionths = 0;
  for (const sim::FaultSource& source : scenario->faults) {
    const std::uint64_t units = source.extent == sim::Extent::kRank   ? 16'384
                                : source.extent == sim::Extent::kNode ? 2048
                                                                      : 64;
    billionths += source.per_billion_hours * units * hours;
  }
  EXPECT_NEAR(static_cast<double>(billionths) / 1e9, 419, 2);
}

}  // namespace
}  // namespace holdfast
