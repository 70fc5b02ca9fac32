#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include "io/cgroup.h"
#include "model/link.h"

namespace holdfast {

// Runs one step of deep checks at a time as a process (`holdfast check exec`), and ends everything
// that came of it: by its control group where the machine has these, by a mark in the environment
// of its processes everywhere. One thread: that of the io_context, which must last.
class CheckLauncher {
 public:
  using MakeGroup = std::function<std::optional<RankCgroup>(const std::string& name)>;
  using Done = std::function<void(agent_message::CheckReport)>;

  // `folder`: of the node; steps are kept in FOLDER/checks. `done` is called once for each step
  // that is started and not stopped, after its processes are dead.
  CheckLauncher(asio::io_context& context, NodeId node, std::string folder, MakeGroup make_group,
                Done done)
      : context_(context),
        node_(node),
        folder_(std::move(folder)),
        make_group_(std::move(make_group)),
        done_(std::move(done)) {}

  // Ends the one that runs first.
  void start(const server_message::StartCheck& step);
  void stop();

 private:
  struct Running {
    explicit Running(asio::io_context& context) : ended(context), timer(context) {}
    server_message::StartCheck step;
    std::string folder;
    std::string mark;  // NAME=VALUE
    std::optional<RankCgroup> group;
    asio::posix::stream_descriptor ended;
    asio::steady_timer timer;
    int attempt = 0;
    bool is_late = false;
    std::string problem;
  };
  using Shared = std::shared_ptr<Running>;

  void launch(const Shared& running);
  void sweep(const Shared& running, int sweeps_left);
  void finish(const Shared& running);
  static bool kill_all(Running& running);

  asio::io_context& context_;
  const NodeId node_;
  const std::string folder_;
  MakeGroup make_group_;
  Done done_;
  Shared running_;  // none: nothing runs, or what runs was stopped
};

}  // namespace holdfast
