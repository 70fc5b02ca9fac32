// `holdfast check ...`: the tests of deep checks on this machine, without a cluster; and what
// agents run.

#include <signal.h>
#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/check_programs.h"
#include "apps/commands/check_views.h"
#include "apps/commands/commands.h"
#include "apps/terminal.h"
#include "core/checks/plan.h"
#include "io/files.h"
#include "io/process.h"
#include "io/random.h"

namespace holdfast {
namespace {

struct RunOptions {
  std::vector<std::string> tests;
  std::string folder;
  std::string scripts;
  std::int64_t load_s = 5;
  std::int64_t budget_s = 120;
  bool json = false;
};

Result<int> run(const RunOptions& options) {
  HF_TRY_VOID(become_subreaper());
  const char* temporary = ::getenv("TMPDIR");
  const std::string folder =
      (options.folder.empty() ? temporary == nullptr ? "/tmp" : temporary : options.folder) +
      std::string("/holdfast-check-") + new_uuid();
  std::vector<CheckResult> all;
  for (const std::string& test : options.tests) {
    const server_message::StartCheck step{.test = test,
                                          .scripts = options.scripts,
                                          .load = seconds(options.load_s),
                                          .budget = seconds(options.budget_s)};
    HF_TRY_VOID(write_check_step(folder, step));
    for (CheckResult& result : run_check_step(step, {}, folder)) all.push_back(std::move(result));
  }
  HF_TRY_VOID(remove_tree(folder));
  bool failed = false;
  nlohmann::json list = nlohmann::json::array();
  for (const CheckResult& result : all) {
    failed = failed || result.verdict == CheckVerdict::kFailed;
    list.push_back(check_result_json(result));
  }
  print(options.json ? list.dump() + "\n" : check_result_table(list, standard_output().paint));
  return failed ? kExitJobFailed : kExitOk;
}

Result<int> execute(const std::string& folder, const std::string& node_text) {
  HF_TRY_VOID(become_subreaper());
  HF_TRY(const server_message::StartCheck step, read_check_step(folder));
  const NodeId node{static_cast<std::uint32_t>(std::strtoul(node_text.c_str() + 1, nullptr, 10))};
  HF_TRY_VOID(write_check_report(
      folder,
      {.check = step.check, .step = step.step, .results = run_check_step(step, node, folder)}));
  return 0;
}

Result<int> builtin(const std::string& folder) {
  HF_TRY(const server_message::StartCheck step, read_check_step(folder));
  const char* node = ::getenv("HOLDFAST_NODE");
  print(run_builtin_check(
            step, NodeId{node == nullptr || *node == '\0'
                             ? 0
                             : static_cast<std::uint32_t>(std::strtoul(node + 1, nullptr, 10))}) +
        "\n");
  return 0;
}

}  // namespace

void add_check(CLI::App& app) {
  CLI::App* group = app.add_subcommand("check", "Test this machine as deep checks do");
  group->require_subcommand(1);
  group->footer("Example:\n  holdfast check run cpu memory gemm disk");
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = group->add_subcommand("run", "Run tests here, and print what they found");
  command->add_option("TEST", options->tests, "cpu, memory, gemm, disk, accelerator, scripts")
      ->required()
      ->check(CLI::IsMember({"cpu", "memory", "gemm", "disk", "accelerator", "scripts"}));
  command->add_option("--load", options->load_s, "Seconds for which a test keeps its part busy")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  command->add_option("--budget", options->budget_s, "Seconds after which a test has failed")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  command->add_option("--scripts", options->scripts, "Folder whose programs `scripts` runs");
  command->add_option("--folder", options->folder,
                      "Where `disk` writes (default: the temporary folder)");
  add_json_option(*command, options->json);
  command->footer(
      "\nEnds with 1 when a test has failed.\n\nExamples:\n  holdfast check run cpu memory gemm\n"
      "  holdfast check run disk --folder /mnt/nvme0\n"
      "  holdfast check run scripts --scripts ./checks\n");
  command->callback([options] { finish([&] { return run(*options); }); });
  // What agents run.
  auto folder = std::make_shared<std::string>();
  auto node = std::make_shared<std::string>();
  command = group->add_subcommand("exec", "")->group("");
  command->add_option("FOLDER", *folder)->required();
  command->add_option("NODE", *node)->required();
  command->callback([folder, node] { finish([&] { return execute(*folder, *node); }); });
  command = group->add_subcommand("builtin", "")->group("");
  command->add_option("FOLDER", *folder)->required();
  command->callback([folder] { finish([&] { return builtin(*folder); }); });
}

}  // namespace holdfast
