#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>

#include "base/prng.h"
#include "drivers/host_claims.h"
#include "drivers/machine_provider.h"
#include "drivers/program_runner.h"
#include "drivers/ssh_scripts.h"
#include "model/inventory.h"

namespace holdfast {

// Machines that somebody has already, over OpenSSH's `ssh`. A node takes a free host of the
// inventory: the program is copied there, unless it is there, and the agent started. A host that
// fails rests for a while and the next one is tried. Which host serves which node is kept in a
// file, so a restart of the control plane changes nothing.
//
// A machine is restarted by its management controller (Redfish, IPMI) where it has one, else over
// SSH. What cannot be ended over SSH is ended by a restart, where there is such a controller.
//
// One thread: that of the io_context.
class SshDriver final : public MachineProvider {
 public:
  struct Options {
    std::string cluster;                                                  // its uuid
    std::string hosts_file;                                               // JSON: {"n3": "gpu-01"}
    std::shared_ptr<HostClaims> claims = std::make_shared<HostClaims>();  // of this process
    std::string server;  // HOST:PORT, as nodes reach it
    std::string ca_pem;
    std::string program;             // the file that is copied
    std::vector<std::string> agent;  // arguments of `holdfast`, without what a host adds
    std::map<std::string, std::string> environment;  // of ssh
    // Anew, for hosts that somebody has added. Those that were there stay as they are.
    std::function<Result<Inventory>()> read_inventory;
    std::uint64_t jitter_seed = 0;
    Duration call_max = seconds(60);  // of one script; of a copy:
    Duration copy_max = minutes(15);
    Duration poll = seconds(15);  // from one look at a host to the next
    Duration rest = minutes(10);  // of a host that has failed
    Duration reboot_max = minutes(30);
    Duration pause_min = seconds(1), pause_max = seconds(20);  // between tries to reach a host
  };

  SshDriver(asio::io_context& context, Inventory inventory, Options options, MakeToken make_token,
            OnGone on_gone, OnNoCapacity on_no_capacity);
  ~SshDriver() override { options_.claims->give_back_all(options_.cluster); }

  // What a provider before a restart kept. Call it first.
  Result<void> load();

  void provision(const MachineWish& wish) override;
  void adopt(NodeId node) override;
  void terminate(NodeId node) override;
  void release(NodeId node) override;
  void reboot(NodeId node) override;
  bool end_everything() override;

 private:
  // What is done with a node's host, from one answer to the next.
  enum class Doing { kStarting, kUp, kRebooting, kEnding };
  struct Machine {
    MachineWish wish;
    std::string host;
    Doing doing = Doing::kStarting;
    std::uint32_t turn = 0;  // an answer to what was asked before another turn is stale
    int failed = 0;
    int under_way = 0;  // programs of ours, stale ones too
    std::string boot;   // of the host, before it was restarted
    std::int64_t until_ns = 0;
    std::string gone_because;
    std::string troubles;  // of the hosts that were tried
  };
  struct Rest {
    std::int64_t until_ns = 0;
    std::string reason;
  };
  using Answer = std::function<void(Machine&, const ProgramEnd&)>;

  // Installs and starts.
  void take_host(NodeId node);
  // False: the inventory has no new ones.
  bool look_for_new_hosts();
  [[nodiscard]] const InventoryHost* choose_host(const MachineWish& wish) const;
  [[nodiscard]] bool is_of_another(const InventoryHost& host) const;
  [[nodiscard]] std::string why_no_host(const MachineWish& wish) const;
  void prepare(NodeId node);
  void copy(NodeId node);
  void start(NodeId node);
  void host_failed(NodeId node, const std::string& reason);
  // Ends.
  void end(NodeId node, const std::string& because);
  void try_end(NodeId node);
  // `is_clean`: nothing of the node runs on its host any more.
  void forget(NodeId node, const std::string& reason, bool is_clean = true);
  // Restarts.
  void restart(NodeId node, std::function<void(const std::string& problem)> done);
  void wait_for_boot(NodeId node);
  void look_after_boot(NodeId node);
  // Looks.
  void poll();
  void looked(NodeId node, const ProgramEnd& end);

  void ask(NodeId node, const std::string& script, Answer answer);
  void run_ssh(NodeId node, const std::string& command, ProgramRun run, Answer answer);
  void later(NodeId node, Duration pause, std::function<void(Machine&)> then);
  void tell_gone(NodeId node, const std::string& reason);
  void save();
  [[nodiscard]] const InventoryHost& host_of(const Machine& machine) const {
    return *hosts_.at(machine.host);
  }
  [[nodiscard]] RemoteNode remote(NodeId node) const;
  [[nodiscard]] std::string why(const ProgramEnd& end) const;
  [[nodiscard]] Duration pause(const Machine& machine);

  asio::io_context& context_;
  Inventory inventory_;
  const Options options_;
  const MakeToken make_token_;
  const OnGone on_gone_;
  const OnNoCapacity on_no_capacity_;
  std::map<std::string, const InventoryHost*> hosts_;  // by name
  Prng prng_;
  std::string sha256_;  // of the program, once it is known
  std::map<NodeId, Machine> machines_;
  std::set<std::string> taken_;
  std::map<std::string, Rest> resting_;
  asio::steady_timer poll_timer_;
  int untold_ = 0;
  ProgramRunner runner_;
  asio::thread_pool power_{4};  // last: ends before the rest
};

}  // namespace holdfast
