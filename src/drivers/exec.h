#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "base/prng.h"
#include "drivers/machine_provider.h"
#include "drivers/program_runner.h"

namespace holdfast {

// Machines from anywhere: four programs of the user's get, give back, restart and list them.
// docs/providers.md has their contract. A program may be called twice for one node (after a crash
// of ours, or when an answer was lost) and finds the machine by cluster and node.
//
// One thread: that of the io_context.
class ExecDriver final : public MachineProvider {
 public:
  struct Options {
    std::string cluster;       // its uuid
    std::string programs;      // folder: provision, terminate, reboot, describe
    std::string nodes_folder;  // NODES/n3/machine: there is, or may be, a machine
    std::string server;        // HOST:PORT, as nodes reach it
    std::string ca_pem;
    std::vector<std::string> agent;  // arguments of `holdfast`, without --ca and --folder
    std::map<std::string, std::string> environment;  // of the programs
    std::uint64_t jitter_seed = 0;
    Duration provision_max = minutes(15);  // of one call; for the others:
    Duration call_max = minutes(2);
    Duration poll = seconds(15);  // from one `describe` to the next
    // `provision` is called again so long, while it asks for it.
    Duration patience = minutes(60);
    Duration pause_min = seconds(1), pause_max = seconds(60);  // between two calls
  };

  // kNotFound, kInvalidField: the folder has not the programs that it must have.
  [[nodiscard]] static Result<void> check(const std::string& programs);

  ExecDriver(asio::io_context& context, Options options, MakeToken make_token, OnGone on_gone,
             OnNoCapacity on_no_capacity);

  void provision(const MachineWish& wish) override;
  void adopt(NodeId node) override;
  void terminate(NodeId node) override;
  void release(NodeId node) override;
  void reboot(NodeId node) override;
  bool end_everything() override;

 private:
  struct Machine {
    enum class Want { kUp, kReboot, kGone } want = Want::kUp;
    bool is_up = false;       // nothing more to do for what is wanted
    bool is_busy = false;     // a program runs for it, or will after a pause
    bool is_without = false;  // there is no capacity for it
    int failed = 0;           // calls in a row
    int missed = 0;           // answers of `describe` in a row that it is gone
    std::int64_t since_ns = 0;
    std::string gone_because;
    MachineWish wish;
  };

  void next(NodeId node);
  void answered(NodeId node, Machine::Want asked, const Result<ProgramEnd>& end);
  void try_again(NodeId node, Machine& machine, Duration at_least);
  void give_back(NodeId node, Machine& machine, const std::string& reason);
  void forget(NodeId node);
  void tell_gone(NodeId node, const std::string& reason);
  void run(const std::string& program, const std::string& input, Duration budget,
           ProgramRunner::Done done);
  void poll();
  void described(const std::vector<NodeId>& asked, const Result<ProgramEnd>& end);
  [[nodiscard]] std::string input_for(NodeId node, const Machine& machine);
  [[nodiscard]] std::string mark(NodeId node) const;

  asio::io_context& context_;
  const Options options_;
  const MakeToken make_token_;
  const OnGone on_gone_;
  const OnNoCapacity on_no_capacity_;
  Prng prng_;
  ProgramRunner runner_;
  asio::steady_timer poll_timer_;
  bool is_polling_ = false;
  bool has_read_marks_ = false;
  int untold_ = 0;
  std::map<NodeId, Machine> machines_;
};

// What `provision`, `terminate` and `reboot` may write: {"retry": true, "after_s": 30, "reason":
// "...", "no_capacity": true}, all of it optional, the last by `provision` only; nothing at all is
// an empty answer. kUnparsable names the field.
struct ExecAnswer {
  bool retry = false;
  bool no_capacity = false;
  Duration after;
  std::string reason;
};
[[nodiscard]] Result<ExecAnswer> parse_exec_answer(const std::string& text);
// What `describe` must write: {"nodes": {"n3": "running"}} with each of `asked`; those that are
// gone.
[[nodiscard]] Result<std::vector<NodeId>> parse_exec_description(const std::string& text,
                                                                 const std::vector<NodeId>& asked);

}  // namespace holdfast
