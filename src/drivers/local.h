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
class LocalDriver {
 public:
  struct Options {
    std::string cluster;       // its uuid
    std::string nodes_folder;  // NODES/n3/{agent.pid, agent.log, kernel.log, ...}
    // The agent's command line; its last argument, added here, is the node's folder.
    std::vector<std::string> agent_command;
    std::map<std::string, std::string> environment;
  };
  // The machine of a node has ended, or could not be started. Called from the io_context, never
  // from inside provision() or terminate().
  using OnGone = std::function<void(NodeId, const std::string& reason)>;
  // A password with which the new node may join.
  using MakeToken = std::function<std::string(NodeId)>;

  LocalDriver(asio::io_context& context, Options options, MakeToken make_token, OnGone on_gone);

  // Starts the node's agent, unless it runs already. Idempotent.
  void provision(NodeId node);
  // Watches an agent that an earlier control plane started; reports it gone when it is.
  void adopt(NodeId node);
  // Ends the agent, and with it its ranks. Reported through OnGone. Idempotent.
  void terminate(NodeId node);
  // The machine stops and starts: its agent and all that it ran end, and a new agent begins in the
  // same folder. Idempotent while it is down. Reported through OnGone only if it cannot start.
  void reboot(NodeId node);
  // Kills what is left of any node, also of frozen ones that were given up. True: nothing is, and
  // all has been reported; call it again until then.
  bool kill_everything();
  // Lets a frozen node run again (SIGCONT).
  Result<void> thaw(NodeId node);

 private:
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
