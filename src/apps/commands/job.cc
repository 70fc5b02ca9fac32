// `holdfast job ...`

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "api/job_file.h"
#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/commands/job_follow.h"
#include "apps/commands/job_logs.h"
#include "apps/commands/job_request.h"
#include "apps/commands/views.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct JobOptions {
  ClientOptions client;
  std::string job;  // name or id
  std::string file;
  std::uint32_t rank = 0;
  bool all = false;
  bool follow = false;
  std::uint32_t attempt = 0;
};

std::string target_of(const std::string& job) {
  return "/v1/jobs/" + encode_segment(job);
}

Result<int> submit(const JobOptions& options) {
  HF_TRY(JobSpec spec, read_job_file(options.file));
  HF_TRY(spec, complete_job(std::move(spec)));
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  plane.be_patient();
  HF_TRY(const json answer, plane.post("/v1/jobs", render_job_body(spec)));
  const json& job = at(answer, "job");
  print(options.client.json ? job.dump() + "\n"
                            : fmt::format("job {} is {}; watch it with `holdfast job top {}`\n",
                                          spec.name, text_at(job, "id"), spec.name));
  return 0;
}

Result<int> list(const JobOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.get("/v1/jobs"));
  print(options.client.json ? answer.dump() + "\n"
                            : job_table(list_at(answer, "jobs"), standard_output().paint));
  return 0;
}

Result<int> describe(const JobOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json job, plane.get(target_of(options.job)));
  if (options.client.json) {
    print(job.dump() + "\n");
    return 0;
  }
  HF_TRY(const json status, plane.get("/v1/status"));
  print(job_page(job, clocks_of(status), standard_output().paint));
  return 0;
}

Result<int> stop(const JobOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.post(target_of(options.job) + "/stop"));
  print(options.client.json ? answer.dump() + "\n" : options.job + " is stopping\n");
  return 0;
}

Result<int> top(const JobOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  const FollowStyle style = options.client.json ? FollowStyle::kJsonLines : FollowStyle::kAuto;
  HF_TRY(const FollowOutcome outcome, follow_job(plane, options.job, -1, style, /*owned=*/false));
  if (options.client.json)
    print(outcome.job.dump() + "\n");
  else if (!outcome.detached)
    say(options.job + " " + text_at(outcome.job, "state") + ": " +
        without_controls(text_at(outcome.job, "reason")));
  return 0;
}

std::string prefixed(const std::string& prefix, const std::string& text) {
  std::string out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size() - 1);
    out += prefix + text.substr(begin, end + 1 - begin);
    begin = end + 1;
  }
  return out;
}

Result<int> logs(const JobOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(json job, plane.get(target_of(options.job)));
  const std::string id = text_at(job, "id");
  const auto attempt_of = [](const json& job) {
    return attempt_number(at(at(job, "attempt"), "number"));
  };
  const std::int64_t first = options.attempt != 0 ? options.attempt : attempt_of(job);
  if (first == 0 && !options.follow)
    return Error{Errc::kWrongState, "job " + options.job + " is " + text_at(job, "state") +
                                        " and has no output yet; wait for it with --follow"};
  const std::int64_t ranks =
      whole_at(at(job, "spec"), "nodes_max") * whole_at(at(job, "spec"), "ranks_per_node");
  if (!options.follow && options.attempt > attempt_of(job))
    return Error{Errc::kNotFound,
                 fmt::format("--attempt: {} has had {} so far", options.job, attempt_of(job))};
  if (options.rank >= ranks)
    return Error{Errc::kNotFound,
                 fmt::format("--rank: {} has ranks 0 to {}", options.job, ranks - 1)};
  std::vector<RankLog> rank_logs;
  for (std::int64_t rank = 0; rank < (options.all ? ranks : 1); ++rank)
    rank_logs.emplace_back(id, options.all ? static_cast<std::uint32_t>(rank) : options.rank,
                           std::max<std::int64_t>(first, 1));
  if (options.follow) count_interrupts();
  if (options.follow) plane.be_patient();
  while (true) {
    const bool over = has_ended(job);
    // A job may run on fewer nodes than it asked for: the ranks beyond them have no log.
    for (RankLog& log : rank_logs) {
      const auto sink = [&](std::int64_t attempt, const std::string& text) {
        print(options.all ? prefixed(fmt::format("[a{} r{}] ", attempt, log.rank()), text) : text);
      };
      auto read = options.follow ? log.advance(plane, attempt_of(job), true, sink) : Result<void>();
      if (read.ok() && attempt_of(job) != 0) read = log.read(plane, /*lines=*/true, sink);
      if (!read.ok() && !(options.all && read.error().code == Errc::kNotFound)) return read.error();
      if (!options.follow || over) log.flush(sink);
    }
    if (!options.follow || over || interrupts() > 0) return 0;
    pause_for(milliseconds(300));
    HF_TRY(job, plane.get(target_of(id)));
  }
}

using Command = Result<int> (*)(const JobOptions&);

CLI::App* add(CLI::App& group, const std::shared_ptr<JobOptions>& options, const char* name,
              const char* what, Command command) {
  CLI::App* app = group.add_subcommand(name, what);
  add_state_option(*app, options->client.state);
  app->callback([options, command] { finish([&] { return command(*options); }); });
  return app;
}

}  // namespace

void add_job(CLI::App& app) {
  auto options = std::make_shared<JobOptions>();
  CLI::App* group = app.add_subcommand("job", "Submit, list, watch and stop jobs");
  group->require_subcommand(1);
  group->footer("Examples:\n  holdfast job submit job.yaml\n  holdfast job top gpt-small");
  const auto job_argument = [options](CLI::App* command) {
    command->add_option("JOB", options->job, "Name or id (j1)")->required();
  };

  CLI::App* command = add(*group, options, "submit", "Submit a job and return at once", submit);
  command->add_option("FILE", options->file, "The job, in YAML or JSON")->required();
  add_json_option(*command, options->client.json);
  command->footer(
      "A job file:\n"
      "  name: gpt-small\n"
      "  nodes: {min: 2, max: 4}\n"
      "  command: [python3, train.py]\n"
      "  checkpoint: {folder: checkpoints, interval_steps: 50}\n\n"
      "Example:\n  holdfast job submit job.yaml");
  command = add(*group, options, "list", "All jobs", list);
  add_json_option(*command, options->client.json);
  command->footer("Example:\n  holdfast job list --json | jq '.jobs[].state'");
  command = add(*group, options, "describe", "One job, its attempt and its ranks", describe);
  job_argument(command);
  add_json_option(*command, options->client.json);
  command->footer("Example:\n  holdfast job describe gpt-small");
  command = add(*group, options, "stop", "Ask a job to stop", stop);
  job_argument(command);
  add_json_option(*command, options->client.json);
  command->footer("Example:\n  holdfast job stop gpt-small");
  command = add(*group, options, "top", "Watch a job live; Ctrl-C leaves it running", top);
  job_argument(command);
  command->add_flag("--json", options->client.json,
                    "Print each event as a line of JSON, and the job as the last one");
  command->footer("Example:\n  holdfast job top gpt-small");

  command = add(*group, options, "logs", "What the ranks print", logs);
  job_argument(command);
  auto* rank = command->add_option("--rank", options->rank, "Of this rank [0]");
  command->add_flag("--all", options->all, "Of all ranks, with [a2 r0] before each line")
      ->excludes(rank);
  command->add_option("--attempt", options->attempt, "Of this attempt [the current one]");
  command->add_flag("--follow", options->follow, "Wait for more, through later attempts");
  command->footer(
      "Examples:\n"
      "  holdfast job logs gpt-small --rank 3 --attempt 1\n"
      "  holdfast job logs gpt-small --all --follow");
}

}  // namespace holdfast
