#pragma once

// What is simulated: the cluster, its jobs, what goes wrong and how often, and what the world takes
// for the things that are not the control plane's to decide. Read from a file
// (sim/scenario_file.h), drawn from a seed (the swarm), or built by a test.
//
// Integers throughout: rates per billion hours, shares per mille and per million, durations in
// nanoseconds. The same scenario and seed give the same run on every compiler.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/enum_text.h"
#include "model/fault.h"
#include "model/job.h"
#include "model/job_spec.h"

namespace holdfast::sim {

// A duration that varies: uniform between the two, both included. least <= most.
struct Span {
  Duration least;
  Duration most;

  friend bool operator==(const Span&, const Span&) = default;
};

// Machines stand in racks in the order of their ids, racks under a switch likewise; a machine that
// replaces another one stands where that one stood. Spares are machines like the others.
struct Topology {
  std::uint32_t nodes = 4;  // places that jobs may use
  std::uint32_t spares = 1;
  std::uint32_t accelerators_per_node = 8;
  std::uint32_t nodes_per_rack = 8;    // share a power feed
  std::uint32_t racks_per_switch = 4;  // share a spine switch
  std::uint32_t machines_max = 0;      // that the provider can give over the run; 0: no end
  std::uint32_t groups = 1;            // instance groups that share nodes and spares evenly

  friend bool operator==(const Topology&, const Topology&) = default;
};

// `count` jobs of one shape. Steps and checkpoints are in time, because that is what facts are
// known in; a checkpoint is taken after the first step that ends `checkpoint_interval` or more
// after the one before.
struct JobShape {
  std::string name;  // the name of the job; with count > 1 followed by -1, -2, ...
  std::uint32_t count = 1;
  Duration submitted_at;  // after the start of the run
  std::uint32_t nodes_min = 1;
  std::uint32_t nodes_max = 1;
  std::uint32_t ranks_per_node = 1;  // processes; a rank may drive more than one accelerator
  std::uint32_t group = 0;           // it may have nodes of this one only, from 1; 0: of all
  bool allow_drifted = false;        // see JobSpec
  std::uint64_t steps = 0;           // 0: trains to the end of the run
  Duration step_time = seconds(1);   // with all nodes, nothing wrong
  Duration checkpoint_interval = minutes(10);
  Duration checkpoint_stall = milliseconds(500);  // all ranks stand still while it is taken
  Duration checkpoint_write = seconds(5);         // from then to its commit; training goes on
  RetryPolicy retry;
  HangPolicy hang;

  friend bool operator==(const JobShape&, const JobShape&) = default;
};

// How a fault shows itself, which is all that Holdfast ever sees of it.
enum class Symptom {
  kRankExit,       // a rank ends by a signal or with a status
  kRankError,      // a rank raises an exception of its own
  kOutOfMemory,    // a rank is killed for memory
  kKernelLine,     // an Xid in the kernel log of the node
  kNodeSilent,     // the machine is dead: agent and ranks at once
  kNodeFreeze,     // the machine stands still for `lasts`, then goes on
  kHang,           // a rank lives and makes no step
  kSlow,           // a rank takes `slow_percent` of the step time, for `lasts`
  kThermal,        // the same, and the node's accelerators say that they are hot
  kStreamReset,    // the connection of agent and control plane breaks
  kPartitionIn,    // what the control plane sends to the node is lost, for `lasts`
  kPartitionOut,   // what the node sends to the control plane is lost, for `lasts`
  kPartition,      // both
  kDiskFull,       // checkpoints cannot be written, for `lasts`
  kServerCrash,    // the control plane dies; back after Costs::server_restart
  kServerDiskSlow  // each journal write takes `shows_after` more, for `lasts`
};

// What one event takes.
enum class Extent { kRank, kNode, kRack, kSwitch, kCluster };

struct Manifestation {
  Symptom symptom = Symptom::kRankExit;
  CauseClass cause = CauseClass::kUnknown;  // the truth, for the report; Holdfast is not told
  std::int32_t xid = 0;                     // kernel_line
  // rank_exit: how the rank ends (SIGKILL is 9). kernel_line: likewise, 0: the ranks go on.
  std::int32_t signal = 0;
  std::int32_t exit_code = 0;
  std::uint32_t slow_percent = 200;  // slow, thermal: of the step time, > 100
  Span shows_after;  // from the moment at which training stands still to the symptom itself
  Duration lasts;    // zero: for good
  // The machine (for application: the job) shows it again so long after each start of training,
  // until the machine is replaced; nullopt: once.
  std::optional<Span> recurs_after;

  friend bool operator==(const Manifestation&, const Manifestation&) = default;
};

// What goes wrong by chance.
struct FaultSource {
  std::string name;  // "gpu_hbm3"
  // Of one accelerator-hour where the extent is a rank, else of one hour of a node, rack, switch or
  // the cluster. Spares fail at the rate of the others.
  std::uint64_t per_billion_hours = 0;
  Extent extent = Extent::kRank;
  Manifestation shows;

  friend bool operator==(const FaultSource&, const FaultSource&) = default;
};

// Machines that are worse than the others: lemons, or those with a bad driver version.
struct WeakGroup {
  std::string name;
  std::uint32_t per_mille = 0;  // of all machines, also of those that come later
  std::uint32_t factor = 1;     // on the rates of faults whose extent is rank or node
  Duration from;                // after the start: when the driver is rolled out
  Duration until;               // zero: to the end

  friend bool operator==(const WeakGroup&, const WeakGroup&) = default;
};

// What goes wrong at a certain time.
struct PlannedFault {
  std::string name;  // for the report; empty: the symptom's word
  Duration at;       // after the start
  Extent extent = Extent::kNode;
  // Of the nodes by machine id from 1 on (also those that came as a replacement), of racks and
  // switches from 1 on, of ranks by global rank from 0 on in the job named `job` (the first job if
  // empty). `count` from `first` on; each is hit at the same instant.
  std::uint32_t first = 1;
  std::uint32_t count = 1;
  std::string job;
  Manifestation shows;

  friend bool operator==(const PlannedFault&, const PlannedFault&) = default;
};

// What the world takes. None of it is Holdfast's to decide; each has its source in the scenario's
// file.
struct Costs {
  Span drain = {milliseconds(100), milliseconds(500)};  // SIGKILL to the death of a rank
  Span place;  // allocation to the message that starts the ranks
  Span process_start = {milliseconds(200), milliseconds(500)};  // a rank, warm
  Span process_start_cold = {seconds(10), seconds(30)};         // the first one on a node
  Span rendezvous = {milliseconds(500), seconds(1)};  // all ranks are there, to all joined
  Span restore = {seconds(2), seconds(5)};            // of the last checkpoint
  Span first_step;                                    // beyond the step time: compiling
  Span reboot = {minutes(4), minutes(8)};
  Span replacement = {minutes(5), minutes(10)};   // a new machine, from asking to its Hello
  std::uint32_t replacement_fails_per_mille = 0;  // it never says Hello
  std::uint32_t replacement_bad_per_mille = 0;    // it comes, and has `replacement_bad_shows`
  Manifestation replacement_bad_shows;
  Span check_step = {seconds(5), seconds(15)};     // of deep checks, on one node
  std::uint32_t check_finds_per_mille = 1000;      // of the machines that are bad
  Span server_restart = {seconds(2), seconds(5)};  // the control plane, from its death to its start

  friend bool operator==(const Costs&, const Costs&) = default;
};

struct Network {
  Span delay = {milliseconds(1), milliseconds(2)};  // one way, one message
  // Of the messages. The stream is TCP: one that is lost comes `retransmit` later, with all behind
  // it.
  std::uint32_t loss_per_million = 0;
  Duration retransmit = milliseconds(200);
  std::uint32_t slow_links_per_mille = 0;  // of the nodes: `slow_factor` times the delay
  std::uint32_t slow_factor = 100;
  std::uint32_t clock_drift_ppm_max = 0;  // each node's clock, drawn from -max to max

  friend bool operator==(const Network&, const Network&) = default;
};

// Machines that the provider takes back.
struct Spot {
  std::uint64_t reclaims_per_billion_hours = 0;  // of a node
  Duration notice;                               // before the machine dies
  bool replace_on_notice = true;                 // the notice asks Holdfast to replace the node

  friend bool operator==(const Spot&, const Spot&) = default;
};

// What the operator has set, and how the operator behaves.
struct Policy {
  std::uint32_t breaker_percent = 50;
  Duration breaker_window = seconds(10);
  Duration heartbeat_interval = milliseconds(500);
  Duration silence_max = milliseconds(2500);
  bool deep_checks = false;                               // of each machine that comes
  std::optional<Duration> operator_closes_breaker_after;  // nullopt: nobody looks
  std::optional<Duration> operator_adds_node_after;       // when a job waits for nodes
  // Of each group; a software update brings other ones, which are as good or fail.
  bool lifecycle_scripts = false;
  // Groups made smaller and larger, nodes removed and rebooted, software updated; until all is calm
  // (run.h), when the cluster is made what it was.
  std::optional<Duration> operator_changes_cluster_every;

  friend bool operator==(const Policy&, const Policy&) = default;
};

// What must come out: scenarios are tests (sim/expectation.h). nullopt: not looked at.
struct Expectation {
  std::optional<std::uint32_t> goodput_per_mille_min;
  std::optional<std::uint32_t> incidents;             // in all
  std::optional<std::uint32_t> incidents_unfinished;  // at the end
  std::optional<std::uint32_t> machines_replaced;     // taken out of a place by a decision, or lost
  std::optional<std::uint32_t> bad_replacements_used;  // that ran a rank
  std::optional<bool> breaker_opened;
  std::optional<JobState> job_state;        // of the first job, at the end
  std::optional<CauseClass> first_verdict;  // of the first incident's first round
  std::optional<Duration> decided_within;   // of the first fault, the last decision

  friend bool operator==(const Expectation&, const Expectation&) = default;
};

struct Scenario {
  std::string name;
  std::string about;  // one sentence for a person
  Duration duration = minutes(10);
  Topology topology;
  std::vector<JobShape> jobs;
  std::vector<FaultSource> faults;
  std::vector<WeakGroup> weak;
  std::vector<PlannedFault> planned;
  Spot spot;
  Costs costs;
  Network network;
  Policy policy;
  Expectation expect;

  friend bool operator==(const Scenario&, const Scenario&) = default;
};

}  // namespace holdfast::sim

namespace holdfast {

template <>
inline constexpr auto kWords<sim::Symptom> = std::to_array<std::string_view>(
    {"rank_exit", "rank_error", "out_of_memory", "kernel_line", "node_silent", "node_freeze",
     "hang", "slow", "thermal", "stream_reset", "partition_in", "partition_out", "partition",
     "disk_full", "server_crash", "server_disk_slow"});
template <>
inline constexpr auto kWords<sim::Extent> = std::to_array<std::string_view>({"rank", "node", "rack",
                                                                             "switch", "cluster"});

}  // namespace holdfast
