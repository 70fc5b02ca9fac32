// `holdfast chaos ...`: break something on purpose, to see that training goes on.

#include <signal.h>
#include <sys/types.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "apps/commands/ballast.h"
#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct ChaosOptions {
  std::string state;
  std::string node;
  std::string job;
  std::uint32_t rank = 0;
  std::int32_t signal = SIGKILL;
  std::string line;
  double seconds = 0;
  Ballast ballast;
  bool undo = false;
  json gpu = json::object();
};

Result<void> inject(ControlPlane& plane, const std::string& target, const json& what) {
  auto answer = plane.post(target + "/inject", what.dump());
  if (!answer.ok()) return answer.error();
  return {};
}

Result<int> inject_job(const ChaosOptions& options, const json& what) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.state));
  HF_TRY_VOID(inject(plane, "/v1/jobs/" + encode_segment(options.job), what));
  print(fmt::format("{} of {}, rank {}: done; watch with `holdfast job top {}`\n",
                    what["what"].get<std::string>(), options.job, options.rank, options.job));
  return 0;
}

Result<int> inject_node(const ChaosOptions& options, const json& what) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.state));
  HF_TRY_VOID(inject(plane, "/v1/nodes/" + encode_segment(options.node), what));
  print(fmt::format("{} of {}: done; watch with `holdfast events --follow`\n",
                    what["what"].get<std::string>(), options.node));
  return 0;
}

Result<int> rank_kill(const ChaosOptions& options) {
  return inject_job(options,
                    {{"what", "rank-kill"}, {"rank", options.rank}, {"signal", options.signal}});
}
Result<int> hang(const ChaosOptions& options) {
  return inject_job(options, {{"what", "hang"}, {"rank", options.rank}});
}
Result<int> out_of_memory(const ChaosOptions& options) {
  return inject_job(options, {{"what", "oom"}, {"rank", options.rank}});
}
Result<int> node_kill(const ChaosOptions& options) {
  return inject_node(options, {{"what", "node-kill"}});
}
Result<int> kernel_log(const ChaosOptions& options) {
  return inject_node(options, {{"what", "kmsg"}, {"line", options.line}});
}

Result<int> gpu(const ChaosOptions& options) {
  return inject_node(options, {{"what", "gpu"}, {"line", options.gpu.dump()}});
}

Result<int> node_thaw(const ChaosOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.state));
  HF_TRY_VOID(plane.post("/v1/nodes/" + encode_segment(options.node) + "/thaw"));
  print(options.node + " runs again\n");
  return 0;
}

Result<int> node_freeze(const ChaosOptions& options) {
  const std::int32_t freezes = static_cast<std::int32_t>(options.seconds * 1000);
  if (freezes > 0) count_interrupts();  // Ctrl-C thaws early
  HF_TRY_VOID(inject_node(options, {{"what", "node-freeze"}}));
  if (freezes <= 0) {
    print("thaw it with `holdfast chaos node-thaw " + options.node + "`\n");
    return 0;
  }
  pause_for(milliseconds(freezes));
  return node_thaw(options);
}

Result<int> disk_full(const ChaosOptions& options) {
  if (options.undo) {
    HF_TRY_VOID(options.ballast.remove());
    print("removed the ballast from " + options.ballast.folder + "\n");
    return 0;
  }
  HF_TRY(const std::uint64_t bytes, options.ballast.fill());
  print(
      fmt::format("{} is full: {} MiB of ballast in it\nundo it with `holdfast chaos disk-full "
                  "--folder {} --undo`\n",
                  options.ballast.folder, bytes >> 20, options.ballast.folder));
  return 0;
}

Result<int> server_kill(const ChaosOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.state));
  if (plane.host() != "127.0.0.1" && plane.host() != "localhost" && plane.host() != "::1")
    return Error{Errc::kWrongState,
                 "the control plane runs on " + plane.host() + "; run this command there"};
  HF_TRY(const json status, plane.get("/v1/status"));
  const auto pid = static_cast<pid_t>(whole_at(status, "server_pid"));
  if (pid <= 1) return Error{Errc::kUnparsable, "the control plane does not tell its process id"};
  if (::kill(pid, SIGKILL) != 0)
    return Error{Errc::kIo, fmt::format("cannot kill process {}: {}; run this as its user", pid,
                                        std::strerror(errno))};
  print(fmt::format("killed the control plane, process {}; jobs go on meanwhile\n", pid));
  return 0;
}

using Command = Result<int> (*)(const ChaosOptions&);

CLI::App* add(CLI::App& group, const std::shared_ptr<ChaosOptions>& options, const char* name,
              const char* what, Command command, const std::string& example) {
  CLI::App* app = group.add_subcommand(name, what);
  app->callback([options, command] { finish([&] { return command(*options); }); });
  app->footer("Example:\n  holdfast chaos " + std::string(name) + " " + example);
  return app;
}

CLI::App* add_of_job(CLI::App& group, const std::shared_ptr<ChaosOptions>& options,
                     const char* name, const char* what, Command command,
                     const std::string& example) {
  CLI::App* app = add(group, options, name, what, command, example);
  app->add_option("JOB", options->job, "Name or id of the job")->required();
  app->add_option("--rank", options->rank, "Which of its ranks")->capture_default_str();
  add_state_option(*app, options->state);
  return app;
}

CLI::App* add_of_node(CLI::App& group, const std::shared_ptr<ChaosOptions>& options,
                      const char* name, const char* what, Command command,
                      const std::string& example) {
  CLI::App* app = add(group, options, name, what, command, example);
  app->add_option("NODE", options->node, "Its id (n2)")->required();
  add_state_option(*app, options->state);
  return app;
}

// What changes in the recorded machine of a node, by the words of change_recorded_machine().
void add_gpu(CLI::App& group, const std::shared_ptr<ChaosOptions>& options) {
  CLI::App* app =
      add_of_node(group, options, "gpu", "Make an accelerator of a recorded machine ill", gpu,
                  "n3 --device 3 --ecc-uncorrectable 1");
  const auto number = [&](const char* option, const char* key, const char* what) {
    return app->add_option_function<std::uint32_t>(
        option, [options, key](const std::uint32_t& value) { options->gpu[key] = value; }, what);
  };
  const auto flag = [&](const char* option, const char* key, const char* what) {
    app->add_flag_callback(
        option, [options, key] { options->gpu[key] = true; }, what);
  };
  number("--device", "device", "Which of its accelerators, from 0")->required();
  number("--ecc-uncorrectable", "ecc_uncorrected",
         "So many ECC errors more that are not corrected");
  number("--ecc-correctable", "ecc_corrected", "So many corrected ECC errors more");
  number("--recovery-action", "recovery_action",
         "The driver's own: 0 none, 1 reset, 2 reboot the node, 3 drain P2P, 4 drain and reset");
  flag("--rows-pending", "rows_pending", "A row remapping is pending");
  flag("--rows-failed", "rows_failed", "A row could not be remapped");
  number("--pages-retired", "pages_retired", "So many retired pages");
  number("--temperature", "temperature", "So hot, in degrees Celsius");
  number("--clock-reasons", "clock_reasons", "Clock event reasons, bits: 64 heat, 128 power brake");
  number("--pcie-width", "pcie_width", "So many PCIe lanes");
  number("--pcie-replays", "pcie_replays", "So many PCIe replays more");
  number("--nvlink-down", "nvlink_down", "This NVLink is down");
  number("--nvlink-recoveries", "nvlink_recoveries", "So many NVLink recoveries more");
  flag("--lost", "lost", "It has fallen off the bus");
  flag("--missing", "missing", "The driver does not count it");
  flag("--hang", "hang", "The driver hangs when it is asked for it");
  flag("--heal", "heal", "It is well again");
  app->add_option_function<std::string>(
         "--cured-by", [options](const std::string& by) { options->gpu["cured_by"] = by; },
         "What it takes: reset, reboot or nothing")
      ->check(CLI::IsMember({"reset", "reboot", "nothing"}));
}

}  // namespace

void add_chaos(CLI::App& app) {
  auto options = std::make_shared<ChaosOptions>();
  CLI::App* group =
      app.add_subcommand("chaos", "Break something on purpose and watch the recovery");
  group->require_subcommand(1);
  group->footer(
      "Examples:\n  holdfast chaos node-kill n2\n  holdfast chaos rank-kill gpt-small --rank 1");

  add_of_job(*group, options, "rank-kill", "Kill one process of a job", rank_kill,
             "gpt-small --rank 1")
      ->add_option("--signal", options->signal, "With this signal")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  add_of_job(*group, options, "hang", "Make a rank stop making progress", hang,
             "gpt-small --rank 1");
  add_of_job(*group, options, "oom", "Make a rank run out of memory", out_of_memory,
             "gpt-small --rank 1");
  add_of_node(*group, options, "node-kill", "Kill a node with all that runs on it", node_kill,
              "n2");
  add_of_node(*group, options, "node-freeze", "Stop a node without its noticing", node_freeze,
              "n2 --for 5")
      ->add_option("--for", options->seconds, "Thaw it after so many seconds [never]")
      ->check(CLI::Range(0.0, 86'400.0));
  add_of_node(*group, options, "node-thaw", "Let a frozen node go on", node_thaw, "n2");
  add_of_node(*group, options, "kmsg", "Put a line into a node's kernel log", kernel_log,
              "n2 'NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.'")
      ->add_option("LINE", options->line, "The line")
      ->required();
  add_gpu(*group, options);
  CLI::App* disk =
      add(*group, options, "disk-full", "Fill the file system of a folder on this machine",
          disk_full, "--folder /mnt/small/checkpoints");
  disk->add_option("--folder", options->ballast.folder, "A folder on it")->required();
  disk->add_flag("--undo", options->undo, "Remove the ballast again");
  disk->add_flag("--force", options->ballast.force,
                 "Also the root file system, and one of more than 1 GiB");
  CLI::App* server = add(*group, options, "server-kill",
                         "Kill the control plane, with no chance to tidy up", server_kill, "");
  add_state_option(*server, options->state);
}

}  // namespace holdfast
