// `holdfast run`: submit a job, watch it, end as it ends.

#include <charconv>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "api/job_file.h"
#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/commands/job_follow.h"
#include "apps/commands/job_request.h"
#include "apps/commands/views.h"
#include "apps/terminal.h"
#include "io/random.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct RunOptions {
  ClientOptions client;
  std::string file;
  std::string name;
  std::string nodes;
  std::uint32_t nodes_min = 0;
  std::uint32_t ranks_per_node = 0;
  std::string instance_group;
  bool allow_drifted = false;
  std::string checkpoint_folder;
  std::uint32_t checkpoint_interval = 0;
  double hang_stall_s = 0;
  double hang_first_step_s = 0;
  std::string memory_limit;
  std::vector<std::string> environment;
};

// "4" or "4:2", the second being the least
Result<void> apply_nodes(const RunOptions& options, JobSpec& spec) {
  if (!options.nodes.empty()) {
    const char* end = options.nodes.data() + options.nodes.size();
    auto parsed = std::from_chars(options.nodes.data(), end, spec.nodes_max);
    spec.nodes_min = spec.nodes_max;
    if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == ':')
      parsed = std::from_chars(parsed.ptr + 1, end, spec.nodes_min);
    if (parsed.ec != std::errc() || parsed.ptr != end)
      return Error{Errc::kInvalidField, "--nodes: '" + options.nodes +
                                            "' is not allowed; write 4, or 4:2 to go on with 2"};
  }
  if (options.nodes_min != 0) spec.nodes_min = options.nodes_min;
  return {};
}

Result<void> apply_environment(const RunOptions& options, JobSpec& spec) {
  for (const std::string& pair : options.environment) {
    const std::size_t equals = pair.find('=');
    if (equals == pair.npos || equals == 0)
      return Error{Errc::kInvalidField, "--env: '" + pair + "' is not allowed; write NAME=value"};
    spec.environment[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  return {};
}

Result<void> apply_command(const RunOptions& options, const std::vector<std::string>& command,
                           JobSpec& spec) {
  if (options.file.empty() == command.empty())
    return Error{Errc::kInvalidField,
                 command.empty() ? "command: missing; write `holdfast run [options] python3 "
                                   "train.py`, or give a job file with --file"
                                 : "command: given beside --file; give one of them"};
  if (!command.empty()) spec.command = command;
  return {};
}

Result<JobSpec> build_spec(const RunOptions& options, const std::vector<std::string>& command) {
  JobSpec spec;
  std::error_code failed;
  const std::filesystem::path here = std::filesystem::current_path(failed);
  spec.working_folder = here.string();
  if (!options.file.empty()) {
    HF_TRY(spec, read_job_file(options.file));
  }
  HF_TRY_VOID(apply_command(options, command, spec));
  HF_TRY_VOID(apply_nodes(options, spec));
  HF_TRY_VOID(apply_environment(options, spec));
  if (options.ranks_per_node != 0) spec.ranks_per_node = options.ranks_per_node;
  if (!options.instance_group.empty()) spec.instance_group = options.instance_group;
  if (options.allow_drifted) spec.allow_drifted = true;
  if (!options.checkpoint_folder.empty())
    spec.checkpoint.folder = (here / options.checkpoint_folder).lexically_normal().string();
  if (options.checkpoint_interval != 0)
    spec.checkpoint.interval_steps = options.checkpoint_interval;
  if (options.hang_stall_s != 0)
    spec.hang.stall_min = milliseconds(static_cast<std::int64_t>(options.hang_stall_s * 1000));
  if (options.hang_first_step_s != 0)
    spec.hang.first_step_max =
        milliseconds(static_cast<std::int64_t>(options.hang_first_step_s * 1000));
  if (!options.memory_limit.empty()) {
    HF_TRY(spec.memory_limit_bytes, parse_bytes(options.memory_limit, "--memory-limit"));
  }
  if (!options.name.empty()) spec.name = options.name;
  if (spec.name.empty()) spec.name = name_after(spec.command, random_hex(2));
  return complete_job(std::move(spec));
}

std::string summary(const json& job, const json& incidents) {
  std::string text = fmt::format("{} {} {}", text_at(at(job, "spec"), "name"), text_at(job, "id"),
                                 text_at(job, "state"));
  if (const std::string reason = text_at(job, "reason"); !reason.empty()) text += ": " + reason;
  text += fmt::format("; {} steps, {} incident{}", whole_at(job, "step"), incidents.size(),
                      incidents.size() == 1 ? "" : "s");
  for (const json& incident : incidents) text += " " + text_at(incident, "id");
  return text;
}

int exit_code_for(const FollowOutcome& outcome) {
  const std::string state = text_at(outcome.job, "state");
  if (state == "succeeded") return kExitOk;
  if (state == "stopped" && outcome.asked_to_stop) return kExitInterrupted;
  const auto code = static_cast<int>(whole_at(outcome.job, "exit_code"));
  return code > 0 && code < 256 ? code : kExitJobFailed;
}

Result<int> run(const RunOptions& options, const std::vector<std::string>& command) {
  HF_TRY(const JobSpec spec, build_spec(options, command));
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json before, plane.get("/v1/events?limit=1"));
  // The token makes a second submission after a lost reply the same job.
  plane.be_patient();
  count_interrupts();
  HF_TRY(const json answer, plane.post("/v1/jobs", render_job_body(spec)));
  const std::string id = text_at(at(answer, "job"), "id");
  if (!options.client.json) say(fmt::format("job {} is {}", spec.name, id));
  const FollowStyle style = options.client.json ? FollowStyle::kJsonLines : FollowStyle::kAuto;
  HF_TRY(const FollowOutcome outcome,
         follow_job(plane, id, whole_at(before, "next"), style, /*owned=*/true));
  if (outcome.detached) {
    say(
        fmt::format("left the job to itself; come back with `holdfast job top {}`, stop it with "
                    "`holdfast job stop {}`",
                    spec.name, spec.name));
    return static_cast<int>(kExitInterrupted);
  }
  const int exit_code = exit_code_for(outcome);
  if (options.client.json) {
    print(json{{"job", id},
               {"name", spec.name},
               {"state", at(outcome.job, "state")},
               {"reason", at(outcome.job, "reason")},
               {"exit_code", exit_code},
               {"attempts", at(at(outcome.job, "attempt"), "number")},
               {"steps", at(outcome.job, "step")},
               {"incidents", outcome.incidents}}
              .dump() +
          "\n");
  } else {
    say(without_controls(summary(outcome.job, outcome.incidents)));
    if (!outcome.incidents.empty())
      say("what happened: holdfast incident show " + text_at(outcome.incidents.back(), "id"));
    if (exit_code != 0) say("its output: holdfast job logs --all " + id);
  }
  return exit_code;
}

}  // namespace

std::vector<std::string> cut_run_command(const CLI::App& app, std::vector<std::string>& args) {
  std::vector<std::string> command;
  if (args.empty() || args[0] != "run") return command;
  const CLI::App* run = app.get_subcommand("run");
  std::size_t i = 1;
  while (i < args.size() && args[i].starts_with('-') && args[i] != "--") {
    const CLI::Option* option = run->get_option_no_throw(args[i].substr(0, args[i].find('=')));
    if (option == nullptr) return command;  // the parser will complain
    const bool has_value = option->get_items_expected_max() > 0;
    i += has_value && args[i].find('=') == std::string::npos ? 2 : 1;
  }
  if (i >= args.size()) return command;
  const auto end = args.begin() + static_cast<std::ptrdiff_t>(i);
  command.assign(args[i] == "--" ? end + 1 : end, args.end());
  args.erase(end, args.end());
  return command;
}

void add_run(CLI::App& app, const std::vector<std::string>& job_command) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run",
                                         "Run a job and watch it until it ends:\n"
                                         "  holdfast run [options] [--] COMMAND [ARGUMENT...]\n"
                                         "  holdfast run [options] --file JOB.yaml");
  add_state_option(*command, options->client.state);
  command->add_flag("--json", options->client.json,
                    "Print each event as a line of JSON, and the outcome as the last one");
  command->add_option("-f,--file", options->file, "Read the job from a file");
  command->add_option("--name", options->name, "Its name [the script's, and a random ending]");
  command->add_option("--nodes", options->nodes,
                      "How many nodes; 4:2 asks for 4 and goes on with 2 when nodes are lost");
  command->add_option("--nodes-min", options->nodes_min, "The 2 of 4:2");
  command->add_option("--ranks-per-node", options->ranks_per_node, "Processes on each node [1]");
  command->add_option("--instance-group", options->instance_group,
                      "Whose nodes it may have (default: those of all)");
  command->add_flag("--allow-drifted", options->allow_drifted,
                    "Also nodes whose software differs from that of most of their kind");
  command->add_option("--checkpoint-folder", options->checkpoint_folder,
                      "Where holdfast.checkpoint keeps the job's checkpoints");
  command->add_option("--checkpoint-interval", options->checkpoint_interval,
                      "Steps between two checkpoints [the script decides]");
  command->add_option("--hang-stall-s", options->hang_stall_s,
                      "A rank without a step for so long hangs [30]");
  command->add_option("--hang-first-step-s", options->hang_first_step_s,
                      "So does an attempt that takes longer to its first step [learnt]");
  command->add_option("--memory-limit", options->memory_limit, "Of each rank: 2GiB, 512MiB");
  command->add_option("--env", options->environment, "NAME=value for the ranks; repeat for more")
      ->allow_extra_args(false);
  command->footer(
      "The job sees HOME, PATH, LANG, USER, PYTHONPATH, VIRTUAL_ENV, LD_LIBRARY_PATH and what\n"
      "--env names, and starts in this folder. Ctrl-C asks it to stop, a second one leaves it.\n\n"
      "Examples:\n"
      "  holdfast run --nodes 4 python3 train.py --lr 0.1\n"
      "  holdfast run --nodes 4:2 --checkpoint-folder ckpt --checkpoint-interval 50 python3 t.py\n"
      "  holdfast run --json --file job.yaml | tail -1");
  command->callback(
      [options, &job_command] { finish([&] { return run(*options, job_command); }); });
}

}  // namespace holdfast
