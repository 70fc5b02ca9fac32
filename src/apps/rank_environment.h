#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/link.h"

namespace holdfast {

// Where the files of one rank are on its node.
struct RankPaths {
  std::string log, page, error, stacks;
  std::string snapshots;  // the node's: the socket of its snapshot server
};

// The signal that makes a Python rank dump its stacks. A real-time one, so it does not take a
// signal that a program may use; sent only to a process that catches it.
inline constexpr int kStacksSignal = 40;

// Everything that a rank finds in its environment: the job's own, torchrun's variables (so that any
// torchrun script runs unchanged), Holdfast's.
[[nodiscard]] std::map<std::string, std::string> rank_environment(
    const server_message::StartRanks& start, std::uint32_t local_rank, const std::string& job_name,
    NodeId node, const RankPaths& paths, const std::string& python_folder,
    const std::map<std::string, std::string>& agent_environment);

// The job's environment alone: what a parent that forks its ranks starts with.
[[nodiscard]] std::map<std::string, std::string> job_environment(
    const JobSpec& spec, const std::string& python_folder,
    const std::map<std::string, std::string>& agent_environment);

// A command that a Python parent can run by forking: `python3 [-u] script.py args` or
// `python3 [-u] -m module args`. Anything else is started the ordinary way.
struct PythonCommand {
  std::string interpreter;
  bool is_module = false;
  std::string target;
  std::vector<std::string> arguments;
};
[[nodiscard]] std::optional<PythonCommand> python_command(const std::vector<std::string>& command);

}  // namespace holdfast
