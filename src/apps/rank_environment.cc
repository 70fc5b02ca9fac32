#include "apps/rank_environment.h"

#include <algorithm>

namespace holdfast {

std::map<std::string, std::string> job_environment(
    const JobSpec& spec, const std::string& python_folder,
    const std::map<std::string, std::string>& agent_environment) {
  std::map<std::string, std::string> environment = agent_environment;
  // The cores that the node was given are shared by its ranks. torchrun gives each rank one.
  if (spec.ranks_per_node > 1) environment["OMP_NUM_THREADS"] = "1";
  for (const auto& [name, value] : spec.environment) environment[name] = value;
  std::string& python_path = environment["PYTHONPATH"];
  python_path = python_path.empty() ? python_folder : python_folder + ":" + python_path;
  environment.emplace("PYTHONUNBUFFERED", "1");
  return environment;
}

std::map<std::string, std::string> rank_environment(
    const server_message::StartRanks& start, std::uint32_t local_rank, const std::string& job_name,
    NodeId node, const RankPaths& paths, const std::string& python_folder,
    const std::map<std::string, std::string>& agent_environment) {
  const JobSpec& spec = start.spec;
  auto environment = job_environment(spec, python_folder, agent_environment);
  const auto set = [&](const char* name, auto value) {
    if constexpr (std::is_integral_v<decltype(value)>)
      environment[name] = std::to_string(value);
    else
      environment[name] = std::move(value);
  };
  set("MASTER_ADDR", start.master_address);
  set("MASTER_PORT", start.master_port);
  set("RANK", start.first_rank() + local_rank);
  set("LOCAL_RANK", local_rank);
  set("GROUP_RANK", start.group_rank);
  set("ROLE_RANK", start.first_rank() + local_rank);
  set("WORLD_SIZE", start.world_size());
  set("LOCAL_WORLD_SIZE", spec.ranks_per_node);
  set("GROUP_WORLD_SIZE", start.nodes);
  set("ROLE_WORLD_SIZE", start.world_size());
  set("ROLE_NAME", std::string("default"));
  set("TORCHELASTIC_RESTART_COUNT", start.attempt.value - 1);
  set("TORCHELASTIC_MAX_RESTARTS", spec.retry.attempts_without_progress_max);
  set("TORCHELASTIC_RUN_ID", to_string(start.job));
  set("HOLDFAST_JOB", job_name);
  set("HOLDFAST_ATTEMPT", start.attempt.value);
  set("HOLDFAST_NODE", to_string(node));
  set("HOLDFAST_PROGRESS_PAGE", paths.page);
  set("HOLDFAST_ERROR_FILE", paths.error);
  set("HOLDFAST_STACKS_FILE", paths.stacks);
  set("HOLDFAST_STACKS_SIGNAL", kStacksSignal);
  if (!spec.checkpoint.folder.empty()) {
    set("HOLDFAST_CHECKPOINT_DIR", spec.checkpoint.folder);
    set("HOLDFAST_CHECKPOINT_KEEP", spec.checkpoint.keep);
    set("HOLDFAST_CHECKPOINT_KEEP_EVERY", spec.checkpoint.keep_every);
    set("HOLDFAST_CHECKPOINT_BUDGET", spec.checkpoint.budget_bytes);
    set("HOLDFAST_SNAPSHOT_SERVER", paths.snapshots);
    set("HOLDFAST_JOB_ID", to_string(start.job));
    set("HOLDFAST_REPLICA_TO", start.replica_to);
  }
  if (spec.checkpoint.interval_steps > 0)
    set("HOLDFAST_CHECKPOINT_INTERVAL", spec.checkpoint.interval_steps);
  return environment;
}

std::optional<PythonCommand> python_command(const std::vector<std::string>& command) {
  if (command.size() < 2) return std::nullopt;
  std::string_view name = command[0];
  name.remove_prefix(name.rfind('/') == std::string_view::npos ? 0 : name.rfind('/') + 1);
  if (!name.starts_with("python")) return std::nullopt;
  name.remove_prefix(6);
  if (!std::all_of(name.begin(), name.end(),
                   [](char c) { return c == '.' || (c >= '0' && c <= '9'); }))
    return std::nullopt;

  PythonCommand python{.interpreter = command[0]};
  std::size_t next = 1;
  if (command[next] == "-u") ++next;  // we set PYTHONUNBUFFERED anyway
  if (next < command.size() && command[next] == "-m") {
    python.is_module = true;
    ++next;
  }
  if (next >= command.size() || command[next].empty() || command[next][0] == '-')
    return std::nullopt;
  python.target = command[next];
  python.arguments.assign(command.begin() + static_cast<std::ptrdiff_t>(next) + 1, command.end());
  return python;
}

}  // namespace holdfast
