// `holdfast advise`: how often to save, how many spares, what goodput to expect.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "apps/commands/advise_views.h"
#include "apps/commands/cluster_history.h"
#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/commands/timed_run.h"
#include "io/files.h"
#include "sim/scenario_file.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct AdviseArguments {
  std::uint32_t nodes = 0;
  std::uint32_t accelerators_per_node = 8;
  std::string node_mtbf;
  std::string job_mtbf;
  double checkpoint_s = 0;
  double write_s = 0;
  double restart_s = 60;
  std::string repair = "14h";
  std::string state;
  bool closed_form_only = false;
  std::uint64_t seed = 1;
  std::string report;
  bool json = false;
};

constexpr double kMtbfMaxS = 1e10;

// A duration as in scenario files; a bare number is hours.
Result<double> time_option(const std::string& name, const std::string& text) {
  const bool bare = !text.empty() && text.find_first_not_of("0123456789.") == text.npos;
  const auto parsed = sim::parse_duration(bare ? text + "h" : text);
  if (!parsed.ok()) return Error{Errc::kInvalidField, name + ": " + parsed.error().detail};
  if (parsed->ns <= 0 || parsed->s() > kMtbfMaxS)
    return Error{Errc::kInvalidField, name + ": '" + text + "' is not allowed; give 1s to 100000d"};
  return parsed->s();
}

Result<void> in_range(const std::string& name, double value, double least, double most) {
  if (value >= least && value <= most) return {};
  return Error{Errc::kInvalidField,
               fmt::format("{}: {} is not allowed; give {} to {}", name, value, least, most)};
}

// What the cluster itself has been through.
Result<void> learn(const std::string& state, const CLI::App& command, AdviceShown& shown) {
  HF_TRY(ControlPlane plane, ControlPlane::open(state));
  HF_TRY(const json status, plane.get("/v1/status"));
  HF_TRY(const json incidents, plane.get("/v1/incidents"));
  const ClusterHistory history = history_of(status, incidents);
  PlanInputs& inputs = shown.inputs;
  if (command.count("--nodes") == 0) inputs.nodes = history.nodes;
  shown.notes.push_back(history_text(history));
  if (inputs.node_mtbf_s == 0) {
    if (history.interruptions == 0)
      return Error{Errc::kInvalidField,
                   "--mtbf: missing, and the cluster has not had an incident to learn it from; "
                   "give it"};
    inputs.node_mtbf_s = history.node_s / static_cast<double>(history.interruptions);
  }
  if (command.count("--restart-s") == 0 && history.recovered > 0)
    inputs.restart_s = history.restart_s;
  return {};
}

Result<AdviceShown> inputs_of(const AdviseArguments& arguments, const CLI::App& command) {
  AdviceShown shown;
  PlanInputs& inputs = shown.inputs;
  inputs.nodes = arguments.nodes;
  inputs.accelerators_per_node = arguments.accelerators_per_node;
  inputs.stall_s = arguments.checkpoint_s;
  inputs.write_s = arguments.write_s;
  inputs.restart_s = arguments.restart_s;
  HF_TRY(inputs.repair_s, time_option("--repair", arguments.repair));
  if (!arguments.node_mtbf.empty()) {
    HF_TRY(inputs.node_mtbf_s, time_option("--mtbf", arguments.node_mtbf));
  }
  if (command.count("--state") > 0) HF_TRY_VOID(learn(arguments.state, command, shown));
  if (inputs.nodes == 0)
    return Error{Errc::kInvalidField, "--nodes: missing; give it, or --state of a cluster"};
  if (!arguments.job_mtbf.empty()) {
    HF_TRY(const double job_mtbf_s, time_option("--job-mtbf", arguments.job_mtbf));
    inputs.node_mtbf_s = job_mtbf_s * inputs.nodes;
  }
  if (inputs.node_mtbf_s == 0)
    return Error{Errc::kInvalidField,
                 "--mtbf: missing; give the mean time between interruptions by one node (264d in "
                 "Llama 3's), or --job-mtbf"};
  HF_TRY_VOID(in_range("--nodes", inputs.nodes, 1, 100'000));
  HF_TRY_VOID(in_range("--checkpoint-s", inputs.stall_s, 0, 86'400));
  HF_TRY_VOID(in_range("--write-s", inputs.write_s, 0, 86'400));
  HF_TRY_VOID(in_range("--restart-s", inputs.restart_s, 0, 86'400));
  if (job_mtbf_s(inputs.nodes, inputs.node_mtbf_s) < inputs.restart_s + inputs.stall_s)
    return Error{Errc::kInvalidField,
                 fmt::format("--mtbf: something would fail every {:.1f} s, sooner than a restart "
                             "ends; give a node's (--job-mtbf is the whole job's), or fewer nodes",
                             job_mtbf_s(inputs.nodes, inputs.node_mtbf_s))};
  return shown;
}

// Long enough for some forty interruptions: their number is then known within a sixth.
Duration simulated_length(const Advice& advice) {
  const double s = std::clamp(40 * advice.job_mtbf_s, 3600.0, 60.0 * 86'400);
  return {static_cast<std::int64_t>(s * 1e9)};
}

void simulate(AdviceShown& shown, std::uint64_t seed, bool watched) {
  const Advice& advice = shown.advice;
  for (const double interval : {advice.interval_s, advice.interval_s / 4, advice.interval_s * 4}) {
    if (interval < shown.inputs.write_s || interval < 1) continue;
    const sim::Scenario scenario =
        advised_scenario(shown.inputs, interval, advice.spares, simulated_length(advice));
    if (!sim::check_scenario(scenario).ok()) continue;
    const sim::Outcome outcome =
        timed_run(scenario, seed,
                  fmt::format("simulated, a checkpoint every {}",
                              duration_text({static_cast<std::int64_t>(interval * 1e9)})),
                  watched);
    shown.simulated.push_back({interval, sim::goodput_ppm(outcome.totals) / 1e6,
                               expected_goodput(shown.inputs, interval, advice.spares),
                               outcome.simulated(),
                               static_cast<std::uint64_t>(outcome.incidents.size())});
  }
}

Result<int> advise_command(const AdviseArguments& arguments, const CLI::App& command) {
  HF_TRY(AdviceShown shown, inputs_of(arguments, command));
  shown.advice = advise(shown.inputs);
  if (!arguments.closed_form_only) simulate(shown, arguments.seed, !arguments.json);
  if (!arguments.report.empty())
    HF_TRY_VOID(write_file_atomic(arguments.report, advice_page(shown), 0644));
  print(arguments.json ? advice_json(shown).dump() + "\n"
                       : advice_text(shown, standard_output().paint));
  if (!arguments.json && !arguments.report.empty()) print("\nreport: " + arguments.report + "\n");
  return 0;
}

void add_options(CLI::App& command, AdviseArguments& arguments) {
  command.add_option("--nodes", arguments.nodes, "That the job runs on");
  command.add_option("--accelerators-per-node", arguments.accelerators_per_node)
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      .add_option(
          "--mtbf", arguments.node_mtbf,
          "Mean time between interruptions by one node: 264d, 6000h; a bare number is hours")
      ->type_name("TIME");
  command
      .add_option("--job-mtbf", arguments.job_mtbf, "The same of the whole job, instead of --mtbf")
      ->type_name("TIME")
      ->excludes("--mtbf");
  command
      .add_option("--checkpoint-s", arguments.checkpoint_s,
                  "Seconds for which a checkpoint stops training")
      ->required()
      ->type_name("S");
  command
      .add_option("--write-s", arguments.write_s,
                  "Seconds from then to its commit, while training goes on")
      ->capture_default_str()
      ->type_name("S");
  command
      .add_option("--restart-s", arguments.restart_s,
                  "Seconds from a fault to the next step (ByteRobust at 1,024 machines: 65)")
      ->capture_default_str()
      ->type_name("S");
  command
      .add_option("--repair", arguments.repair,
                  "Until the machine that failed, or another one, is there again")
      ->capture_default_str()
      ->type_name("TIME");
  command
      .add_option("--state", arguments.state,
                  "Learn nodes, mtbf and restart from this cluster's own history")
      ->type_name("DIR");
  command.add_option("--seed", arguments.seed, "Of the simulation")->capture_default_str();
  command.add_flag("--closed-form", arguments.closed_form_only, "Do not simulate");
  command.add_option("--report", arguments.report, "Write a page with the curve there")
      ->type_name("FILE.html");
  add_json_option(command, arguments.json);
}

}  // namespace

void add_advise(CLI::App& app) {
  auto arguments = std::make_shared<AdviseArguments>();
  CLI::App* command = app.add_subcommand(
      "advise", "How often to checkpoint, how many spares to hold, what goodput to expect");
  add_options(*command, *arguments);
  command->footer(
      "Examples:\n"
      "  holdfast advise --nodes 2048 --mtbf 264d --checkpoint-s 0.5\n"
      "  holdfast advise --nodes 128 --job-mtbf 8h --checkpoint-s 30 --restart-s 300\n"
      "  holdfast advise --state ~/.local/state/holdfast/default --checkpoint-s 2 --report a.html");
  command->callback(
      [arguments, command] { finish([&] { return advise_command(*arguments, *command); }); });
}

}  // namespace holdfast
