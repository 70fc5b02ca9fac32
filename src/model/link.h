#pragma once

// What an agent and the control plane say to each other. The wire form is proto/link.proto
// (io/link_codec.h); these values are what the core sees.
//
// Delivery: a stream is ordered; it may break at any point. On a new stream the agent's Hello tells
// the whole of its state, so nothing that was lost with the old one is needed. Everything about a
// job carries the attempt it belongs to, and a stale one is refused by whoever receives it.

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/check.h"
#include "model/enum_text.h"
#include "model/fault.h"
#include "model/job_spec.h"
#include "model/progress.h"
#include "model/location.h"

namespace holdfast {

// How a rank ended.
struct RankExit {
  std::uint32_t rank = 0;
  std::int32_t code = 0;    // exit status; meaningless when signal != 0
  std::int32_t signal = 0;  // 0: it exited by itself
  bool asked = false;       // we killed it: not evidence of anything
  std::string error_type;   // Python exception, or "start_failed"; empty: none reported
  std::string error_message;
  std::string traceback;
  std::string log_tail;  // last lines of its output, at most 4 KiB
  std::uint64_t memory_peak_bytes = 0;
  std::uint64_t memory_limit_bytes = 0;
  bool out_of_memory = false;  // the kernel, or the agent's own limit, killed it for memory
  RankProgress progress;       // its page as it was left

  [[nodiscard]] bool clean() const { return code == 0 && signal == 0; }
};

// One attempt as a node sees it. `drained`: all ranks of it that were here are dead.
struct AttemptReport {
  JobId job;
  Attempt attempt;
  bool drained = false;
  std::vector<std::uint32_t> running;
  std::vector<RankExit> exited;
};

namespace agent_message {

struct Hello {
  NodeId node;
  std::string address;                // where other nodes reach this one
  std::uint16_t rendezvous_port = 0;  // free on this node a moment ago: for rank 0's store
  std::int32_t pid = 0;
  std::uint32_t cpus = 0;
  std::uint64_t memory_bytes = 0;
  // "host:port" where it takes snapshots of other nodes' ranks and gives them out; empty: nowhere.
  std::string snapshot_address;
  // Its fingerprint: "kernel", "driver", "nccl", ... to version.
  std::map<std::string, std::string> software;
  std::string instance_type;  // what a person calls machines of this kind; may be empty
  Location location;
  // The run of lifecycle scripts in which an agent of this node died; 0: in none.
  std::uint32_t lifecycle_cut_off = 0;
  std::vector<AttemptReport> attempts;
};
struct Heartbeat {
  std::uint16_t rendezvous_port = 0;
  JobId job;  // none: nothing runs here
  Attempt attempt;
  std::vector<RankProgress> progress;  // of the ranks that changed since the last one
};
struct RanksStarted {
  JobId job;
  Attempt attempt;
  std::vector<std::int32_t> pids;  // by local rank
};
struct RankExited {
  JobId job;
  Attempt attempt;
  RankExit exit;
};
struct AttemptDrained {
  JobId job;
  Attempt attempt;
};
struct FaultSeen {
  Fault fault;
  bool present = false;  // it lasts: FaultCleared says when it is over
};
struct FaultCleared {
  std::string kind;
  std::string device;
};
// The answer to ResetDevices.
struct DevicesReset {
  bool ok = false;
  std::string detail;  // what was done, or why it could not be
};
struct StacksCollected {
  JobId job;
  Attempt attempt;
  std::uint32_t rank = 0;
  bool answered = false;      // false: it did not react to the dump signal in time
  std::string process_state;  // "S (sleeping)", "T (stopped)", ... of the operating system
  std::string text;           // Python stacks, most recent call first, or what the kernel tells
};
// What a node found in one step of deep checks; told again after each reconnect while the step is
// the newest that it knows.
struct CheckReport {
  CheckId check;
  std::uint32_t step = 0;
  std::vector<CheckResult> results;
};
// The answer to RunLifecycle, told again when it is asked again.
struct LifecycleReported {
  std::uint32_t run = 0;
  bool ok = false;
  std::uint32_t tries = 0;  // that were made
  std::string reason;       // why the last one failed
  std::string log_tail;     // the last lines of the scripts' output, at most 4 KiB
};
// Asks for the scripts of a run, from this byte of their pack on; answered by LifecycleFiles. The
// node asks, so that no more than one answer is under way to it, whatever their size.
struct LifecycleFilesWanted {
  std::uint32_t run = 0;
  std::uint64_t offset = 0;
};
// Without a job: what the node's lifecycle scripts print, all of its runs in one log.
struct LogChunk {
  JobId job;
  Attempt attempt;
  std::uint32_t rank = 0;
  std::uint64_t offset = 0;  // of bytes[0] in the rank's log
  std::string bytes;
};

}  // namespace agent_message

using AgentMessage =
    std::variant<agent_message::Hello, agent_message::Heartbeat, agent_message::RanksStarted,
                 agent_message::RankExited, agent_message::AttemptDrained, agent_message::FaultSeen,
                 agent_message::StacksCollected, agent_message::LogChunk,
                 agent_message::FaultCleared, agent_message::DevicesReset,
                 agent_message::CheckReport, agent_message::LifecycleReported,
                 agent_message::LifecycleFilesWanted>;

enum class Injection { kRankKill, kNodeKill, kNodeFreeze, kKernelLog, kHang, kOutOfMemory, kGpu };
template <>
inline constexpr auto kWords<Injection> = std::to_array<std::string_view>({"rank-kill", "node-kill",
                                                                           "node-freeze", "kmsg",
                                                                           "hang", "oom", "gpu"});

namespace server_message {

// First on each stream: the agent is a member.
struct Welcome {
  Duration heartbeat_interval;
};
// Kills what runs of older attempts of the job, then starts these ranks.
struct StartRanks {
  JobId job;
  Attempt attempt;
  JobSpec spec;
  std::uint32_t group_rank = 0;  // this node's position in the allocation
  std::uint32_t nodes = 0;
  std::string master_address;
  std::uint16_t master_port = 0;
  // Where the second copy of this node's snapshots is kept, a snapshot_address; empty: nowhere.
  std::string replica_to;
  // Who besides this node may have the newest snapshots of its ranks, nearest first.
  std::vector<std::string> restore_from;
  [[nodiscard]] std::uint32_t first_rank() const { return group_rank * spec.ranks_per_node; }
  [[nodiscard]] std::uint32_t world_size() const { return nodes * spec.ranks_per_node; }
};
// Ends all attempts of the job up to this one. Answered by AttemptDrained, also when nothing ran.
struct StopRanks {
  JobId job;
  Attempt attempt;
  Duration grace;  // SIGTERM, this long, SIGKILL; zero: SIGKILL at once
};
struct CollectStacks {
  JobId job;
  Attempt attempt;
};
// Have a parent process ready that forks this job's ranks (a spare gets this before it is needed).
struct WarmUp {
  JobId job;
  JobSpec spec;
};
// The job has ended: its warm parent may go.
struct ForgetJob {
  JobId job;
};
struct LogAck {
  JobId job;
  Attempt attempt;
  std::uint32_t rank = 0;
  std::uint64_t offset = 0;  // everything before it is kept by the server
};
// A step of deep checks, answered by CheckReport. Ends what runs of another one. No ranks are here.
struct CheckPeer {
  NodeId node;
  std::string address;
  std::uint16_t port = 0;  // where it listens for the others
};
struct StartCheck {
  CheckId check;
  std::uint32_t step = 0;
  std::string test;
  std::string scripts;  // folder; empty: none
  Duration load;
  Duration budget;
  std::uint32_t position = 0;    // of this node among `peers`
  std::vector<CheckPeer> peers;  // that measure together; empty: alone
};
struct StopCheck {
  CheckId check;
};
// Makes the machine a node of its group by its user's programs, tried a few times until they
// succeed. Ends what runs of an older run. Answered by LifecycleReported. No ranks are here.
struct RunLifecycle {
  std::uint32_t run = 0;
  std::string on_create;         // a program in the pack; empty: none
  std::string on_init_complete;  // likewise, afterwards
  Duration try_max;              // all programs of one try together
  std::uint32_t tries_max = 1;
};
// A piece of a run's pack (io/file_pack.h).
struct LifecycleFiles {
  std::uint32_t run = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes_in_all = 0;
  std::string bytes;
  std::map<std::string, std::string> config;  // with offset 0: HyperPod's files, by name
  std::string error;                          // not empty: there is no pack, and why
};
// The node is no member any more: kill everything and exit.
struct Fenced {
  std::string reason;
};
// Chaos, for tests and for users who try their set-up.
struct Inject {
  Injection what = Injection::kRankKill;
  JobId job;
  std::uint32_t rank = 0;
  std::int32_t signal = 0;  // rank-kill
  std::string line;         // kmsg; gpu: what changes in the recorded machine
};
// Reset these accelerators; nothing runs on the node. Answered by DevicesReset.
struct ResetDevices {
  std::vector<std::string> devices;  // PCI addresses
  std::string reason;
};

}  // namespace server_message

using ServerMessage =
    std::variant<server_message::Welcome, server_message::StartRanks, server_message::StopRanks,
                 server_message::CollectStacks, server_message::WarmUp, server_message::ForgetJob,
                 server_message::LogAck, server_message::Fenced, server_message::Inject,
                 server_message::ResetDevices, server_message::StartCheck,
                 server_message::StopCheck, server_message::RunLifecycle,
                 server_message::LifecycleFiles>;

}  // namespace holdfast
