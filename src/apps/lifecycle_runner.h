#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "core/agent/agent_machine.h"
#include "io/process.h"
#include "model/link.h"

namespace holdfast {

// Runs the user's lifecycle scripts on this node, a try at a time: asks the control plane for the
// files, writes them and HyperPod's own (`resource_config.json` and the like), runs the programs
// one after the other, and tells how it went. docs/lifecycle.md is what scripts may count on.
//
// What a script leaves running when it has succeeded stays, as far as it is a service of the
// machine's; what is left of one that failed is killed. One thread: that of the io_context, which
// lasts.
class LifecycleRunner {
 public:
  struct Options {
    NodeId node;
    std::string cluster;
    std::string folder;  // of the node: FOLDER/lifecycle/scripts, FOLDER/lifecycle.log
    std::string config;  // where HyperPod's files go: /opt/ml/config
    std::map<std::string, std::string> environment;
  };
  struct Listener {
    virtual ~Listener() = default;
    // False: not connected.
    virtual bool send_to_server(const agent_message::LifecycleFilesWanted& wanted) = 0;
    virtual void lifecycle_tried(agent_event::LifecycleTried tried) = 0;
    // A child of this process, whose end is to be told to program_ended().
    virtual void program_started(pid_t pid) = 0;
  };

  LifecycleRunner(asio::io_context& context, Options options, Listener& listener)
      : context_(context), options_(std::move(options)), listener_(listener), timer_(context) {}

  // What an agent before this one has left.
  [[nodiscard]] agent_event::LifecycleFound found() const;

  void start(const server_message::RunLifecycle& start);
  void stop();
  void take(server_message::LifecycleFiles files);
  void program_ended(pid_t pid, const ExitStatus& status);
  // The run is over, and the control plane is told.
  void keep(const agent_message::LifecycleReported& report);

  [[nodiscard]] static std::string log_path(const std::string& folder) {
    return folder + "/lifecycle.log";
  }

 private:
  enum class Phase { kIdle, kFetching, kRunning, kEnding };

  void ask();
  Result<void> unpack();
  void next_program();
  void arm(Duration after, std::function<void()> then);
  void fail(const std::string& reason);
  void end(bool ok, const std::string& reason);
  void clear_away(int rounds_left);
  void sweep(int rounds_left, const std::string& reason);
  void log(const std::string& line) const;
  [[nodiscard]] std::string scripts() const { return options_.folder + "/lifecycle/scripts"; }
  [[nodiscard]] std::string running_path() const { return options_.folder + "/lifecycle/running"; }
  [[nodiscard]] std::string report_path() const { return options_.folder + "/lifecycle/report"; }
  [[nodiscard]] std::string mark() const;

  asio::io_context& context_;
  const Options options_;
  Listener& listener_;
  asio::steady_timer timer_;
  Phase phase_ = Phase::kIdle;
  server_message::RunLifecycle run_;
  std::int64_t deadline_ns_ = 0;
  std::int64_t log_begins_ = 0;  // of this try
  std::string pack_;
  std::map<std::string, std::string> config_files_;
  std::vector<std::string> programs_;  // still to be run, the next one last
  std::string program_;
  pid_t pid_ = 0;
};

// /opt/ml/config on a machine of its own, a folder of the node's where it shares one; or
// HOLDFAST_ML_CONFIG.
[[nodiscard]] std::string lifecycle_config_folder(const std::string& node_folder,
                                                  bool has_own_machine);

}  // namespace holdfast
