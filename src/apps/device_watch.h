#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/probe_process.h"
#include "core/agent/agent_machine.h"

namespace holdfast {

// The probes of an agent: its accelerators, its host, and how its accelerators are reset.
//
// `devices`: "auto" (NVIDIA's library, where it is installed), "none", or "recorded:FILE", a
// recorded machine behind a test double of that library: the node's own copy is
// FOLDER/machine.yaml, and each start of the agent is the start of that machine.
// `host_root`: "/" or a folder with a recorded /proc and /sys; empty: the host is not watched.
class DeviceWatch {
 public:
  struct Options {
    std::string devices = "auto";
    std::string host_root;
    std::string folder;  // the node's
    Duration interval;
  };
  using OnEvent = std::function<void(const AgentEvent&)>;

  // Errors: of the recorded machine's file.
  static Result<void> prepare(const Options& options);

  DeviceWatch(asio::io_context& context, Options options, OnEvent on_event,
              ProbeProcess::OnSpawned on_spawned);
  void start();

  // Answered by agent_event::ResetDone.
  void reset(const std::vector<std::string>& devices);
  // `holdfast chaos gpu`: changes the recorded machine.
  Result<void> change(const std::string& what);

 private:
  Duration take_devices(const std::string& line);
  Duration take_host(const std::string& line);
  void await_reset(pid_t pid, const std::string& what, int looks_left);
  [[nodiscard]] bool is_recorded() const { return options_.devices.starts_with("recorded:"); }
  [[nodiscard]] std::string machine_file() const { return options_.folder + "/machine.yaml"; }

  asio::io_context& context_;
  const Options options_;
  const OnEvent on_event_;
  const ProbeProcess::OnSpawned on_spawned_;
  std::unique_ptr<ProbeProcess> devices_, host_;
};

}  // namespace holdfast
