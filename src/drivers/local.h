#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include "base/id.h"
#include "base/result.h"
#include "drivers/machine_provider.h"
#include "io/process.h"

namespace holdfast {

// The embedded machine provider: every node is a real agent process on this machine, in a session
// and a folder of its own. Agents outlive the control plane: after a restart of it they are found
// again by pid and start time. Everything that a node runs carries HOLDFAST_CLUSTER and
// HOLDFAST_NODE in its environment and is dead before the node is reported gone, as it would be if
// a real machine were: an agent that is killed takes its ranks along, but not what they have
// started.
//
// One thread: that of the io_context.
class LocalDriver final : public MachineProvider {
 public:
  struct Options {
    std::string cluster;       // its uuid
    std::string nodes_folder;  // NODES/n3/{agent.pid, agent.log, kernel.log, ...}
    // The agent's command line; its last argument, added here, is the node's folder.
    std::vector<std::string> agent_command;
    std::map<std::string, std::string> environment;
  };
  LocalDriver(asio::io_context& context, Options options, MakeToken make_token, OnGone on_gone);

  void provision(const MachineWish& wish) override { start(wish.node); }
  // Watches an agent that an earlier control plane started.
  void adopt(NodeId node) override;
  void terminate(NodeId node) override;
  // Its agent and all that it ran end, and a new agent begins in the same folder.
  void reboot(NodeId node) override;
  // Also frozen nodes that were given up.
  bool end_everything() override;
  // Lets a frozen node run again (SIGCONT).
  Result<void> thaw(NodeId node);

 private:
  // Its agent, unless it runs already.
  void start(NodeId node);
  void watch(NodeId node, pid_t pid);
  void report_gone(NodeId node, std::string reason);
  void sweep(NodeId node, const std::string& reason, int rounds_left);
  [[nodiscard]] std::string folder(NodeId node) const;
  // The agent's pid if it is alive; 0 otherwise.
  [[nodiscard]] pid_t find_agent(NodeId node) const;

  asio::io_context& context_;
  const Options options_;
  const MakeToken make_token_;
  const OnGone on_gone_;
  std::map<NodeId, asio::posix::stream_descriptor> watched_;
  std::set<NodeId> rebooting_;  // down, to be started when nothing of them is left
  int sweeps_ = 0;              // under way
};

}  // namespace holdfast
