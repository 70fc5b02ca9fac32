#pragma once

// A whole cluster in virtual time and one thread: the real ServerMachine and AgentMachines, and
// around them a journal's disk, streams, machines, ranks that train, and what goes wrong with all
// of these. Part of run.cc's implementation; run.h is what others include.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/prng.h"
#include "core/agent/agent_machine.h"
#include "core/cluster/server_machine.h"
#include "sim/chance.h"
#include "sim/checkers.h"
#include "sim/ledger.h"
#include "sim/outcome.h"
#include "sim/pace.h"
#include "sim/queue.h"
#include "sim/run.h"
#include "sim/scenario.h"

namespace holdfast::sim {

using RunKey = std::pair<JobId, Attempt>;

// A process.
struct Rank {
  RunKey run;
  std::uint32_t rank = 0;
  std::int32_t pid = 0;
  bool hung = false;                       // alive, makes no step
  bool stuck = false;                      // in the kernel: SIGKILL works much later
  bool deaf = false;                       // does not listen to SIGTERM
  std::uint64_t seen = ~std::uint64_t{0};  // of its page, by the agent
};

// One machine, its agent and its end of the link.
struct Machine {
  enum class State { kComing, kUp, kGone };

  explicit Machine(std::uint64_t seed, NodeId made) : id(made), prng(seed, 1000 + made.value) {}

  // What each heartbeat looks at stands together: nearly all of the simulator's time is waiting for
  // these from memory.
  NodeId id;
  std::unique_ptr<AgentMachine> agent;
  std::vector<Rank> ranks;
  Instant frozen_until;
  Duration beat_interval;
  Instant next_beat;
  std::uint64_t beats = 0;
  std::uint32_t beat_timer = 0;  // the newest
  bool is_slow_link = false;
  // The link. TCP: in order, and nothing is lost but with the stream.
  bool tail_lost = false;           // of the broken one
  std::uint64_t stream = 0;         // 0: not connected
  std::uint64_t server_stream = 0;  // the newest that the control plane has heard of
  std::uint64_t broken_stream = 0;
  Instant last_to_server, last_beat_to_server;
  Instant cut_out_until;  // what it sends
  Instant cut_in_until;   // what is sent to it
  Instant last_to_agent;
  std::uint64_t welcomed_stream = 0;
  std::uint32_t connect_tries = 0;
  std::uint16_t rendezvous_port = 20000;

  std::uint32_t slot = 0;  // where it stands
  State state = State::kComing;
  std::uint64_t life = 0;  // of its processes: what belongs to an earlier one is void
  Prng prng;
  std::vector<std::pair<RunKey, std::uint32_t>> unborn;  // asked for, still starting
  std::set<JobId> warm;
  std::uint32_t lifecycle_run = 0;  // under way; 0: none
  std::uint32_t weak = 0;           // bit i: of Scenario::weak[i]
  std::int32_t drift_ppm = 0;
  std::uint32_t slow_percent = 100;  // of a step's time, its ranks
  bool is_bad_replacement = false;
  bool is_found_by_checks = false;
  // What is wrong with it, for the checkers: a reason to take it out.
  bool hurt = false;
  std::vector<std::pair<const Manifestation*, std::string>> recurring;
};

// One attempt of a job, as it trains.
struct Run {
  enum class Phase {
    kStarting,
    kJoining,
    kRestoring,
    kReady,  // restored, compiles
    kTraining,
    kCheckpointing,  // stands still for it
    kEnding,         // all steps made, the last checkpoint is being written
    kStopped
  };
  RunKey key;
  std::uint32_t world_size = 0;
  std::uint32_t nodes = 0;
  std::uint32_t born = 0;       // ranks so far
  std::uint32_t alive = 0;      // ranks
  std::vector<NodeId> members;  // by group rank
  std::string master;           // where the first of them was told to meet
  Phase phase = Phase::kStarting;
  std::uint32_t changes = 0;  // of phase or pace: what was planned before is void
  std::uint32_t marks = 0;    // of its pages, besides steps
  Pace pace;
  std::uint64_t restored = 0;
  bool has_restored = false;
  std::optional<std::uint64_t> committed;  // by this attempt
  std::uint64_t save_failures = 0;
  // What an agent has looked at of them.
  std::optional<std::uint64_t> committed_shown;
  std::uint64_t save_failures_shown = 0;
  Instant checkpoint_at;
  std::optional<std::uint64_t> writing;  // a checkpoint of this step
  std::uint32_t slow_percent = 100;
  Instant slow_since;
};

// A job as the world knows it.
struct Job {
  const JobShape* shape = nullptr;
  std::string name;
  JobId id;
  Ledger::Group group = 0, missing = 0;
  Part part = Part::kIdle;
  // The store of checkpoints.
  std::uint64_t committed = 0;
  Attempt fence;  // the newest attempt that has read it: older ones cannot commit any more
  Instant disk_full_until;
  // What stopped the training, until it goes on.
  struct Trouble {
    std::string fault;
    Instant at;
    CauseClass truth = CauseClass::kUnknown;
  };
  std::optional<Trouble> trouble;
  std::vector<std::pair<const Manifestation*, std::string>> recurring;
  // Of the control plane's view, to see what changed.
  JobState state = JobState::kQueued;
  bool backs_off = false;
  Attempt attempt;
  bool made_step = false;
  IncidentId incident;
};

class World {
 public:
  World(const Scenario& scenario, std::uint64_t seed, const RunOptions& options);
  Outcome run();

 private:
  struct Flight {
    NodeId node;
    std::uint64_t stream = 0;
    AgentMessage message;
  };
  struct Flights {
    std::vector<Flight> all;
    std::vector<std::uint32_t> free;
  };

  // --- world.cc
  void begin();
  void sample();
  void finish();
  void skip_beats();
  void hear_all();
  [[nodiscard]] Instant next_risk() const;
  [[nodiscard]] bool is_calm() const;
  [[nodiscard]] Instant now() const { return queue_.now(); }
  [[nodiscard]] Instant server_now() const { return now() + server_offset_; }
  [[nodiscard]] Machine& machine(NodeId id) { return *machines_.at(id.value - 1); }
  void violation(const std::string& checker, const std::string& text);
  // Runs on the machine as it is: not when its processes have ended, later when it is frozen.
  void on_machine(Machine& machine, Duration after, std::function<void(Machine&)> action);
  void run_on_machine(NodeId id, std::uint64_t life, const std::function<void(Machine&)>& action);

  // --- world_server.cc: the control plane's shell
  void boot_server();
  void submit(Event event);
  [[nodiscard]] static std::string group_name(std::uint32_t number) {
    return "workers" + std::to_string(number);
  }
  void arrive(NodeId node, std::uint64_t stream, AgentMessage message);
  void begin_turn();
  void end_turn();
  void note(const ServerMachine::Entry& entry);
  void note_audit(const effect::Audit& audit);
  void perform(const Effect& effect);
  void arm_look();
  void look_at(Instant when);
  void look();
  void crash_server();
  void recover_server(std::optional<std::uint64_t> digest);
  void operate();
  void plan_operator(Instant from);
  void plan_changes();
  void change_cluster();
  void mend_cluster();
  void check_replay(bool at_end);
  [[nodiscard]] std::optional<std::string> lifecycle_files(NodeId node, std::uint32_t run);

  // --- world_link.cc
  void connect(Machine& machine);
  void break_stream(Machine& machine);
  void send_to_server(Machine& machine, AgentMessage message, bool is_beat);
  void send_to_agent(NodeId node, const ServerMessage& message);
  void cut(Machine& machine, bool in, bool out, Duration lasts);
  void land(Flights& flights, std::uint32_t slot);
  [[nodiscard]] Duration delay(Machine& machine, std::uint64_t chance) const;
  void reconsider(Machine& machine);

  // --- world_machine.cc: machines, agents, ranks
  void provision(NodeId node);
  void terminate(NodeId node);
  void reboot(NodeId id);
  void come_up(Machine& machine);
  void die(Machine& machine);
  [[nodiscard]] std::map<std::string, std::string> software_of(NodeId id) const;
  void step_agent(Machine& machine, const AgentEvent& event, bool is_beat = false);
  void perform(Machine& machine, const AgentEffect& effect, bool is_beat);
  void ask_for_rank(Machine& machine, const agent_effect::StartRank& effect);
  void births(Machine& machine, const RunKey& run);
  void beat(NodeId node, std::uint32_t timer);
  void plan_beat(Machine& machine);
  void read_pages(Machine& machine, bool is_beat);
  void kill_ranks(Machine& machine, const agent_effect::KillRanks& kill);
  void end_rank_of(Machine& machine, const RunKey& run, std::uint32_t rank, RankExit exit);
  void read_stacks(Machine& machine, const agent_effect::CollectStacks& collect);
  void run_check(Machine& machine, const server_message::StartCheck& start);
  void try_lifecycle(Machine& machine, std::uint32_t run);
  [[nodiscard]] RankProgress page_of(const Run& run, const Rank& rank) const;

  // --- world_training.cc
  void submit_jobs();
  void submit_job(Job& job);
  Job& job_of(const RunKey& key) { return *jobs_by_id_.at(key.first); }
  Run* find_run(const RunKey& key);
  void change_phase(Run& run, Run::Phase phase);
  void later_in(const Run& run, Duration after, void (World::*what)(Run&));
  void joined(Run& run);
  void restored(Run& run);
  void train(Run& run);
  void plan_checkpoint(Run& run);
  void take_checkpoint(Run& run);
  void checkpoint_taken(Run& run);
  void checkpoint_written(Run& run);
  void all_steps_done(Run& run);
  void end_well(Run& run);
  void stop_training(Run& run, std::optional<Job::Trouble> trouble);
  void pace_anew(Run& run);
  void account_slowness(Run& run);
  void milestone(Run& run, bool first_rank_only);
  void peers_notice(const RunKey& key, std::uint32_t rank);
  void settle(Job& job);
  [[nodiscard]] Part part_of(const Job& job) const;
  [[nodiscard]] bool is_current(const Run& run) {
    return job_of(run.key).attempt == run.key.second;
  }
  void forget_run(const RunKey& key);
  [[nodiscard]] std::uint32_t slowest(const Run& run);
  void follow_jobs();
  void size_groups(Job& job, std::uint32_t nodes);

  // --- world_faults.cc
  void plan_faults();
  void plan_next(std::size_t source);
  void strike(std::size_t source);
  void strike_planned(const PlannedFault& planned);
  void strike_slots(const std::string& name, Extent extent, std::uint32_t first,
                    std::uint32_t count, const Manifestation& shows);
  void inflict(Machine& machine, const std::string& name, Extent extent,
               const Manifestation& shows);
  void show(Machine& machine, const Rank& rank, bool is_whole_node, const Manifestation& shows);
  void inflict_on_rank(Machine& machine, std::size_t index, const std::string& name,
                       bool is_whole_node, const Manifestation& shows);
  void inflict_on_cluster(const std::string& name, const Manifestation& shows);
  void freeze(Machine& machine, Duration lasts);
  void slow(Machine& machine, const Manifestation& shows);
  [[nodiscard]] Instant until(Duration lasts) const;
  void recur(Run& run);
  void plan_reclaim();
  void count_fault(const std::string& name);
  void risk_at(Instant when);
  [[nodiscard]] std::uint32_t slots() const {
    return scenario_.topology.nodes + scenario_.topology.spares;
  }
  [[nodiscard]] Machine* at_slot(std::uint32_t slot);

  const Scenario scenario_;
  const std::uint64_t seed_;
  const RunOptions options_;
  Outcome outcome_;
  Queue queue_;
  Instant start_, end_, calm_;
  Prng prng_;  // of what belongs to no machine
  Ledger ledger_;
  Digest digest_;
  Checkers checkers_;

  // The control plane.
  std::unique_ptr<ServerMachine> server_;  // none: it is down
  std::uint64_t server_life_ = 0;
  Prng server_prng_;
  Duration server_offset_;        // of its clock
  bool writing_ = false;          // it waits for its disk
  std::uint32_t look_timer_ = 0;  // the newest
  std::optional<Instant> look_at_;
  std::vector<std::pair<NodeId, AgentMessage>> waiting_;  // what came meanwhile
  std::uint64_t streams_ = 0;
  std::uint64_t steps_ = 0;
  Duration disk_slow_;
  Instant disk_slow_until_;
  // Its disk: a snapshot, and the entries since. Kept as values, and through the codec at a crash.
  struct Record {
    Instant at;
    Event event;
    std::uint64_t effects_digest;
  };
  std::optional<ClusterState> snapshot_;
  std::vector<Record> journal_;
  std::vector<Record> unsynced_;  // of the write under way
  Instant breaker_seen_, node_added_;
  Prng operator_prng_;
  ClusterSpec made_;  // what the cluster was before its operator changed it
  // The files of lifecycle scripts as they are now, by a number; and those that fail.
  std::uint32_t scripts_now_ = 1;
  std::set<std::string> bad_scripts_;

  std::vector<std::unique_ptr<Machine>> machines_;  // by id - 1
  std::vector<NodeId> slot_machine_;                // by slot; the newest that stands there
  std::deque<std::uint32_t> free_slots_;
  std::set<NodeId> doubtful_;  // may be silent, or have a rank that stands still
  std::int32_t pids_ = 1000;
  AgentEffects effects_;
  Flights messages_, beats_;

  std::vector<std::unique_ptr<Job>> jobs_;
  std::map<JobId, Job*> jobs_by_id_;
  std::map<RunKey, Run> runs_;
  Run* last_found_ = nullptr;  // of these

  std::vector<Prng> source_prngs_;
  std::vector<Instant> source_next_;
  std::multiset<Instant> risks_;  // when something else is known to go wrong
  std::uint32_t slow_machines_ = 0;
  bool lands_at_once_ = false;  // what is sent
  bool skipping_ = false;       // no beats are sent
  Duration margin_;             // before a fault, in which all beats are sent
  std::map<IncidentId, IncidentTrace> traces_;
};

}  // namespace holdfast::sim
