// `holdfast sim ...`: the control plane in a simulated world.

#include <memory>
#include <string>

#include <fmt/format.h>

#include "apps/commands/commands.h"
#include "apps/commands/sim_views.h"
#include "apps/scenarios.h"
#include "apps/sim_report.h"
#include "apps/terminal.h"
#include "io/clock.h"
#include "io/files.h"
#include "sim/expectation.h"
#include "sim/run.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct RunArguments {
  std::string scenario;
  std::uint64_t seed = 1;
  bool json = false;
  std::string report;
};

// What is done of a long run, drawn in place; nothing where nobody watches.
class Progress {
 public:
  Progress(std::string what, bool wanted)
      : what_(std::move(what)), began_(monotonic_ns()), screen_(standard_output()) {
    if (wanted && screen_.is_terminal) area_.emplace(screen_);
  }
  ~Progress() {
    if (area_) area_->draw({});
  }

  void show(double share, const std::string& more) {
    const Duration since{monotonic_ns() - began_};
    if (!area_ || since - drawn_ < milliseconds(100)) return;
    drawn_ = since;
    std::string line = fmt::format("{}  {}  {}", what_, progress_bar(share, 30), more);
    if (share > 0.02)
      line +=
          fmt::format(", about {} to go", duration_text(Duration{static_cast<std::int64_t>(
                                              static_cast<double>(since.ns) * (1 / share - 1))}));
    area_->draw({line});
  }

  [[nodiscard]] Duration since() const { return {monotonic_ns() - began_}; }

 private:
  std::string what_;
  std::int64_t began_;
  Duration drawn_;
  Screen screen_;
  std::optional<LiveArea> area_;
};

sim::Outcome timed_run(const sim::Scenario& scenario, std::uint64_t seed, bool watched) {
  Progress progress(scenario.name, watched);
  sim::RunOptions options;
  options.on_progress = [&](Duration simulated) {
    const double speed = simulated.s() / std::max(progress.since().s(), 1e-3);
    progress.show(
        simulated.s() / scenario.duration.s(),
        fmt::format("{} simulated, {} x real time", duration_text(simulated), number_text(speed)));
  };
  const Duration cpu = process_cpu_time();
  sim::Outcome outcome = sim::run(scenario, seed, options);
  outcome.wall = progress.since();
  outcome.cpu = process_cpu_time() - cpu;
  return outcome;
}

Result<int> run(const RunArguments& arguments) {
  HF_TRY(const sim::Scenario scenario, load_scenario(arguments.scenario));
  sim::Outcome outcome = timed_run(scenario, arguments.seed, !arguments.json);
  for (sim::Violation& unmet : sim::unmet_expectations(scenario, outcome))
    outcome.violations.push_back(std::move(unmet));
  for (sim::Violation& violation : outcome.violations)
    if (violation.repeat.empty())
      violation.repeat =
          fmt::format("holdfast sim run {} --seed {}", arguments.scenario, arguments.seed);
  if (!arguments.report.empty())
    HF_TRY_VOID(write_file_atomic(arguments.report, sim_report(scenario, outcome), 0644));
  if (arguments.json) {
    print(outcome_json(outcome).dump() + "\n");
  } else {
    print(outcome_text(scenario, outcome, standard_output().paint));
    if (!arguments.report.empty()) print("report: " + arguments.report + "\n");
  }
  return outcome.violations.empty() ? 0 : kExitJobFailed;
}

Result<int> list(bool as_json) {
  json all = json::array();
  std::vector<std::vector<std::string>> rows = {{"scenario", ">nodes", ">simulated", "what"}};
  for (const std::string& name : scenario_names()) {
    HF_TRY(const sim::Scenario scenario, load_scenario(name));
    all.push_back({{"name", name},
                   {"about", scenario.about},
                   {"nodes", scenario.topology.nodes},
                   {"simulated_s", scenario.duration.s()}});
    rows.push_back({name, std::to_string(scenario.topology.nodes), duration_text(scenario.duration),
                    scenario.about});
  }
  print(as_json ? json({{"scenarios", all}}).dump() + "\n"
                : render_table(rows, standard_output().paint));
  return 0;
}

void add_run_command(CLI::App& group) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command = group.add_subcommand("run", "One run of one scenario");
  command->add_option("SCENARIO", arguments->scenario, "A name of `sim list`, or a YAML file")
      ->required();
  command->add_option("--seed", arguments->seed, "The same seed gives the same run")
      ->capture_default_str();
  command->add_option("--report", arguments->report, "Write a page with pictures there")
      ->type_name("FILE.html");
  add_json_option(*command, arguments->json);
  command->footer(
      "Examples:\n"
      "  holdfast sim run node-vanishes\n"
      "  holdfast sim run llama3-16k --seed 7 --report llama3.html\n"
      "  holdfast sim run my-cluster.yaml --json\n\n"
      "Exit code 1: a property did not hold, or what the scenario expects did not come out.");
  command->callback([arguments] { finish([&] { return run(*arguments); }); });
}

void add_list_command(CLI::App& group) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App* command = group.add_subcommand("list", "The scenarios that this program brings");
  add_json_option(*command, *as_json);
  command->footer("Example:\n  holdfast sim list");
  command->callback([as_json] { finish([&] { return list(*as_json); }); });
}

}  // namespace

void add_sim(CLI::App& app) {
  CLI::App* group =
      app.add_subcommand("sim", "The same control plane in a simulated cluster, from one seed");
  group->require_subcommand(1);
  group->footer(
      "Examples:\n"
      "  holdfast sim list\n"
      "  holdfast sim run llama3-16k --seed 7 --report llama3.html");
  add_run_command(*group);
  add_list_command(*group);
}

}  // namespace holdfast
