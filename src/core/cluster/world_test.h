#pragma once

// A whole cluster in virtual time and one thread: one Controller with its monitors, real
// AgentMachines, and fake machines, streams, ranks and faults around them. All chance comes from
// one seed, so a seed is a run.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "core/agent/agent_machine.h"
#include "core/cluster/controller.h"
#include "core/health/liveness.h"
#include "core/jobs/progress_monitor.h"

namespace holdfast {

class World {
 public:
  explicit World(std::uint64_t seed) : prng_(seed) {}

  // Runs to the end of it; the first property that did not hold, or nothing.
  std::optional<std::string> run();

  // What a run went through, so that a test can tell that the faults did happen.
  struct Tally {
    std::uint64_t events = 0, attempts = 0, incidents = 0, recovered = 0, crashes = 0, fenced = 0,
                  succeeded = 0, failed = 0, stopped = 0, waiting = 0, breakers = 0, hangs = 0;
    Duration time;
  };
  [[nodiscard]] const Tally& tally() const { return tally_; }

 private:
  using Action = std::function<void()>;
  using RankKey = std::pair<std::pair<JobId, Attempt>, std::uint32_t>;

  struct Rank {
    server_message::StartRanks start;
    std::int32_t pid = 0;
    std::uint64_t restored = 0;
    std::uint64_t step = 0;
    bool hung = false;   // alive, makes no step
    bool stuck = false;  // in the kernel: SIGKILL works much later
  };
  struct Node {
    AgentMachine agent;
    bool alive = false;
    bool gone = false;  // its machine has ended, or will not come
    bool frozen = false;
    bool hurt = false;            // was frozen or had a stuck rank: a reason to give it up
    std::vector<Action> backlog;  // what waits for the thaw
    std::uint64_t stream = 0;     // 0: not connected
    std::uint64_t heartbeat = 0;  // the newest timer
    Instant last_to_server, last_to_agent;                 // streams keep their order
    std::map<RankKey, server_message::StartRanks> unborn;  // asked for, still importing
    std::map<RankKey, Rank> ranks;
  };
  // What a training script would know.
  struct Training {
    std::uint64_t steps = 0;
    std::uint64_t poison = 0;  // raises at this step in every attempt; 0: never
    std::uint64_t committed = 0;
    Attempt fence;  // the newest attempt that has read the checkpoint
  };

  // world_test.cc: time, properties
  void at(Duration after, Action action);
  void on_node(NodeId node, Duration after, Action action);
  void fail(const std::string& what);
  Duration between(std::int64_t min_ms, std::int64_t max_ms);
  void check_step();
  void check_birth(NodeId node, const server_message::StartRanks& start);
  void check_end();
  void check_waiting(const JobRecord& job);
  [[nodiscard]] bool is_member(NodeId node) const;
  [[nodiscard]] bool all_jobs_ended() const;
  [[nodiscard]] std::uint64_t replayed_digest(Controller* into);

  // world_server_test.cc: the control plane's shell
  void make_cluster();
  void submit_job(const std::string& name, std::uint32_t nodes);
  void apply(const Event& event);
  void apply_if_up(const Event& event);
  void perform(const Effect& effect);
  void take(NodeId node, const AgentMessage& message);
  void heard_of(NodeId node, const agent_message::Heartbeat* heartbeat);
  void tick();
  void operate();
  void crash();
  void restart();
  void provision(NodeId node);
  void terminate(NodeId node);
  void break_stream(NodeId node);

  // world_node_test.cc: machines, agents, ranks
  void connect(NodeId node);
  void step_agent(NodeId node, const AgentEvent& event);
  void perform(NodeId node, const AgentEffect& effect);
  void send_to_server(NodeId node, const AgentMessage& message);
  void send_to_agent(NodeId node, const ServerMessage& message);
  void beat(NodeId node, std::uint64_t timer, Duration interval);
  void rank_born(NodeId node, RankKey key);
  void rank_runs(NodeId node, RankKey key);
  void rank_ends(NodeId node, RankKey key, RankExit exit);
  void peers_notice(RankKey gone);
  void kill_ranks(NodeId node, const agent_effect::KillRanks& kill);
  void read_stacks(NodeId node, const agent_effect::CollectStacks& collect);
  void die(NodeId node);
  [[nodiscard]] RankProgress page_of(const RankKey& key, const Rank& rank);

  // world_faults_test.cc
  void plan_faults();
  void strike();
  void strike_rank(NodeId node, RankKey key, std::uint64_t how);
  void strike_node(NodeId node, std::uint64_t how);
  [[nodiscard]] std::optional<NodeId> any_live_node();

  Prng prng_;
  std::map<std::pair<Instant, std::uint64_t>, Action> queue_;
  std::uint64_t queued_ = 0;
  Instant now_ = Instant{} + seconds(1);
  std::optional<std::string> failure_;
  Tally tally_;

  // The server. `journal_` is what its disk has.
  Controller controller_;
  ProgressMonitor progress_;
  LivenessMonitor liveness_{kSilenceMax};
  std::map<TimerId, Instant> timers_;
  std::vector<std::pair<Instant, std::string>> journal_;
  bool up_ = true;
  bool crash_soon_ = false;  // within the effects of the next step
  Instant breaker_seen_, node_added_;
  bool adds_nodes_ = false;  // the operator brings machines when asked to

  std::map<NodeId, Node> nodes_;
  std::uint64_t streams_ = 0;
  std::int32_t pids_ = 1000;
  std::map<std::string, Training> training_;
  std::map<std::pair<JobId, Attempt>, std::map<std::uint32_t, std::uint64_t>> steps_;  // by rank
  std::map<JobId, JobState> ended_;
  std::map<JobId, Attempt> attempts_;
  Instant calm_at_;  // no more faults
};

}  // namespace holdfast
