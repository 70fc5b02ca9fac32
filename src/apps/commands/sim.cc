// `holdfast sim ...`: the control plane in a simulated world.

#include <algorithm>
#include <memory>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "apps/commands/commands.h"
#include "apps/commands/sim_replay.h"
#include "apps/commands/sim_views.h"
#include "apps/commands/swarm.h"
#include "apps/commands/timed_run.h"
#include "apps/scenarios.h"
#include "apps/sim_report.h"
#include "apps/terminal.h"
#include "io/files.h"
#include "sim/expectation.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct RunArguments {
  std::string scenario;
  std::uint64_t seed = 1;
  bool json = false;
  std::string report;
  bool every_heartbeat = false;
};

Result<int> run(const RunArguments& arguments) {
  HF_TRY(const sim::Scenario scenario, load_scenario(arguments.scenario));
  sim::Outcome outcome = timed_run(scenario, arguments.seed, scenario.name, !arguments.json,
                                   {.coalesce = !arguments.every_heartbeat});
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

struct SwarmArguments {
  std::uint64_t seeds = 500;
  std::uint64_t first = 1;
  unsigned threads = 0;
  bool json = false;
};

std::string failure_text(const sim::Outcome& outcome, const Paint& paint) {
  const sim::Violation& violation = outcome.violations.front();
  return fmt::format("{} {}: {} at {}: {}\n  {}\n", paint(Ink::kRed, "seed"), outcome.seed,
                     violation.checker, duration_text(violation.at - outcome.start), violation.text,
                     violation.repeat);
}

std::string shrunk_text(const sim::Shrunk& shrunk) {
  std::string out =
      fmt::format("the same with the least that is needed for it ({} runs):\n", shrunk.runs);
  for (const std::string& fault : shrunk.faults) out += "  " + fault + "\n";
  return out;
}

json swarm_json(const sim::SwarmResult& result, Duration wall) {
  json violated = json::array();
  for (const sim::Outcome& outcome : result.failed)
    for (const sim::Violation& violation : outcome.violations)
      violated.push_back({{"seed", outcome.seed},
                          {"checker", violation.checker},
                          {"text", violation.text},
                          {"repeat", violation.repeat}});
  return {{"seeds", result.seeds},
          {"violations", violated.size()},
          {"violated", violated},
          {"seeds_failed", result.failed.size()},
          {"events", result.events},
          {"faults", result.faults},
          {"incidents", result.incidents},
          {"recovered", result.recovered},
          {"server_crashes", result.crashes},
          {"machines_replaced", result.replaced},
          {"breaker_opened", result.breakers},
          {"updates_rolled_back", result.rolled_back},
          {"jobs",
           {{"succeeded", result.jobs_succeeded},
            {"failed", result.jobs_failed},
            {"stopped", result.jobs_stopped},
            {"open", result.jobs_open}}},
          {"simulated_s", result.simulated.s()},
          {"digest", fmt::format("{:016x}", result.digest)},
          {"wall_s", wall.s()}};
}

std::string swarm_text(const sim::SwarmResult& result, Duration wall, const Paint& paint) {
  std::string out = fmt::format(
      "{} seeds in {}: {} simulated, {} events, {} faults, {} deaths of the control plane\n"
      "{} incidents, {} recovered; {} machines replaced; the breaker opened {} times, {} updates "
      "rolled back\n"
      "jobs: {} succeeded, {} failed, {} stopped, {} still there; digest {:016x}\n",
      result.seeds, duration_text(wall), duration_text(result.simulated),
      number_text(static_cast<double>(result.events)), result.faults, result.crashes,
      result.incidents, result.recovered, result.replaced, result.breakers, result.rolled_back,
      result.jobs_succeeded, result.jobs_failed, result.jobs_stopped, result.jobs_open,
      result.digest);
  return out +
         (result.failed.empty()
              ? paint(Ink::kGreen, "every property held in every seed")
              : paint(Ink::kRed,
                      fmt::format("{} of {} seeds failed", result.failed.size(), result.seeds))) +
         "\n";
}

Result<int> swarm(const SwarmArguments& arguments) {
  if (arguments.seeds == 0)
    return Error{Errc::kInvalidField, "--seeds: 0 is not allowed; give at least 1"};
  const Paint paint = standard_output().paint;
  const unsigned threads = arguments.threads != 0
                               ? arguments.threads
                               : std::max(std::thread::hardware_concurrency(), 1u);
  sim::SwarmResult result;
  Duration wall;
  {
    Progress progress("swarm", !arguments.json);
    std::uint64_t done = 0, failed = 0;
    result = swarm_on_threads(
        arguments.first, arguments.seeds, threads, [&](const sim::Outcome& outcome) {
          failed += outcome.violations.empty() ? 0 : 1;
          progress.show(static_cast<double>(++done) / static_cast<double>(arguments.seeds),
                        fmt::format("{} seeds, {} failed", done, failed));
          return true;
        });
    wall = progress.since();
  }
  if (arguments.json) {
    print(swarm_json(result, wall).dump() + "\n");
  } else {
    for (const sim::Outcome& outcome : result.failed) print(failure_text(outcome, paint));
    if (!result.failed.empty())
      if (const auto shrunk = sim::shrink(result.failed.front().seed)) print(shrunk_text(*shrunk));
    print(swarm_text(result, wall, paint));
  }
  return result.failed.empty() ? 0 : kExitJobFailed;
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
  command->add_flag("--every-heartbeat", arguments->every_heartbeat,
                    "Leave out none that cannot matter: the same decisions, later");
  add_json_option(*command, arguments->json);
  command->footer(
      "Examples:\n"
      "  holdfast sim run node-vanishes\n"
      "  holdfast sim run llama3-16k --seed 7 --report llama3.html\n"
      "  holdfast sim run my-cluster.yaml --json\n\n"
      "Exit code 1: a property did not hold, or what the scenario expects did not come out.");
  command->callback([arguments] { finish([&] { return run(*arguments); }); });
}

void add_swarm_command(CLI::App& group) {
  auto arguments = std::make_shared<SwarmArguments>();
  CLI::App* command =
      group.add_subcommand("swarm", "Many small worlds with every kind of fault, all checkers on");
  command->add_option("--seeds", arguments->seeds, "How many")->capture_default_str();
  command->add_option("--first", arguments->first, "The first one")->capture_default_str();
  command->add_option("--threads", arguments->threads, "Default: one per core")
      ->check(CLI::Range(1, 1024));
  add_json_option(*command, arguments->json);
  command->footer(
      "A seed that fails prints the line that repeats it.\n\n"
      "Examples:\n"
      "  holdfast sim swarm --seeds 500\n"
      "  holdfast sim swarm --first 1234 --seeds 1\n\n"
      "Exit code 1: a property did not hold in some seed.");
  command->callback([arguments] { finish([&] { return swarm(*arguments); }); });
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
      "  holdfast sim run llama3-16k --seed 7 --report llama3.html\n"
      "  holdfast sim swarm --seeds 500\n"
      "  holdfast sim replay DIR --audits");
  add_run_command(*group);
  add_swarm_command(*group);
  add_sim_replay(*group);
  add_list_command(*group);
}

}  // namespace holdfast
