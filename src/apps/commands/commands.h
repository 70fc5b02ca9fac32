#pragma once

// The subcommands of `holdfast`. Each add_*() puts one of them (or a group) on the command line;
// its callback runs the command and ends with finish().

#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/result.h"

namespace holdfast {

// What a script can tell apart. `holdfast run` ends with the job's own exit code instead of
// kJobFailed where the job has one.
enum ExitCode {
  kExitOk = 0,
  kExitJobFailed = 1,     // the job, or what was asked for, did not succeed
  kExitBadInput = 2,      // HF1001, HF1002, HF1007, or the command line
  kExitUnavailable = 3,   // HF2001: no control plane answers
  kExitNotFound = 4,      // HF1003
  kExitRefused = 5,       // HF1004-1006, HF2003-2004: the present state does not allow it
  kExitMachine = 6,       // HF3xxx: this machine's files, ports or disks
  kExitDenied = 7,        // HF4xxx: certificates and tokens
  kExitInterrupted = 130  // Ctrl-C
};
inline constexpr const char* kExitCodeHelp =
    "Exit codes: 0 done; 1 the job failed (`run`: the job's own exit code, where it has one);\n"
    "  2 bad input; 3 the control plane does not answer; 4 no such thing; 5 not possible in the\n"
    "  present state; 6 this machine (files, ports, disks); 7 not allowed; 130 interrupted\n";
[[nodiscard]] ExitCode exit_code_of(Errc errc);

// Runs a command: returns when it gives 0, else prints its error on stderr and throws
// CLI::RuntimeError with the exit code, which main() returns. JSON of an unexpected shape, thrown
// by the command, becomes an error like any other.
void finish(const std::function<Result<int>()>& command);

// Options of a command that speaks to a control plane.
struct ClientOptions {
  std::string state;  // folder; default_state_folder() when not given
  bool json = false;
};
// $HOLDFAST_STATE, else ~/.local/state/holdfast/default.
[[nodiscard]] std::string default_state_folder();
// Adds --state; add_json_option() adds --json.
void add_state_option(CLI::App& command, std::string& state);
void add_json_option(CLI::App& command, bool& json);

// Cuts the job's own command off the words of a `holdfast run` line: it is not the parser's to read
// (`holdfast run node app.js` runs Node.js).
[[nodiscard]] std::vector<std::string> cut_run_command(const CLI::App& app,
                                                       std::vector<std::string>& args);

// src/apps/up_command.cc
void add_up(CLI::App& app);
void add_down(CLI::App& app);
void add_server(CLI::App& app);
void add_agent(CLI::App& app);
// src/apps/commands/
void add_status(CLI::App& app);
void add_cluster(CLI::App& app);
void add_node(CLI::App& app);
void add_node_check(CLI::App& node_group);
void add_check(CLI::App& app);
// `job_command` is what cut_run_command() gave, and outlives the app.
void add_run(CLI::App& app, const std::vector<std::string>& job_command);
void add_job(CLI::App& app);
void add_incident(CLI::App& app);
void add_events(CLI::App& app);
void add_breaker(CLI::App& app);
void add_chaos(CLI::App& app);
void add_sim(CLI::App& app);
void add_advise(CLI::App& app);
void add_diagnose(CLI::App& app);
void add_probe(CLI::App& app);
void add_checkpoint(CLI::App& app);
void add_explain(CLI::App& app);
void add_version(CLI::App& app);

}  // namespace holdfast
