#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "core/health/health_watch.h"
#include "model/link.h"

namespace holdfast {

// What happens to an agent.
namespace agent_event {
struct Connected {
  agent_message::Hello self;  // who and where this node is; `attempts` is filled in by the machine
};
struct Received {
  ServerMessage message;
};
struct RankStarted {
  JobId job;
  Attempt attempt;
  std::uint32_t rank;
  std::int32_t pid;
};
struct RankEnded {
  JobId job;
  Attempt attempt;
  RankExit exit;
};  // also for one that could not be started
struct PageRead {
  JobId job;
  Attempt attempt;
  RankProgress progress;
};
struct KernelLine {
  std::string line;
};
// A probe has looked at the devices or at the host.
struct DevicesRead {
  DevicesReading reading;
};
struct HostRead {
  HostReading reading;
};
// It did not answer in time; `stuck`: its process cannot be ended either.
struct ProbeLate {
  bool of_devices;
  bool stuck;
  std::string evidence;
};
struct ResetDone {
  bool ok;
  std::string detail;
};
struct StacksRead {
  agent_message::StacksCollected stacks;
};
struct HeartbeatDue {
  std::uint16_t rendezvous_port;
};
struct CheckDone {
  agent_message::CheckReport report;
};  // also for one that could not be started
struct GraceOver {
  JobId job;
  Attempt attempt;
};
// First of all, what an agent before this one has left: the run that it did not finish, or the
// report of one that it did.
struct LifecycleFound {
  std::uint32_t cut_off = 0;
  std::optional<agent_message::LifecycleReported> done;
};
struct LifecycleTried {
  std::uint32_t run;
  bool ok;
  std::string reason;
  std::string log_tail;
};
struct LifecycleRetryDue {
  std::uint32_t run;
};
}  // namespace agent_event
using AgentEvent =
    std::variant<agent_event::Connected, agent_event::Received, agent_event::RankStarted,
                 agent_event::RankEnded, agent_event::PageRead, agent_event::KernelLine,
                 agent_event::StacksRead, agent_event::HeartbeatDue, agent_event::GraceOver,
                 agent_event::DevicesRead, agent_event::HostRead, agent_event::ProbeLate,
                 agent_event::ResetDone, agent_event::CheckDone, agent_event::LifecycleFound,
                 agent_event::LifecycleTried, agent_event::LifecycleRetryDue>;

// What its shell must do, in this order.
namespace agent_effect {
struct Send {
  AgentMessage message;
};
struct WarmUp {
  JobId job;
  JobSpec spec;
};
struct CoolDown {
  JobId job;
};
struct StartRank {
  server_message::StartRanks start;
  std::uint32_t local_rank;
};  // answered by RankStarted or RankEnded
struct KillRanks {
  JobId job;
  Attempt attempt;
  std::int32_t signal;
};  // to every process of each rank; one that is not started yet is given up, and RankEnded says so
struct CollectStacks {
  JobId job;
  Attempt attempt;
  std::uint32_t rank;
};
struct StartCheck {
  server_message::StartCheck start;
};  // after what runs of another one is dead; answered by CheckDone within the budget
struct StopCheck {};  // of the one that runs: no answer is wanted
struct TryLifecycle {
  server_message::RunLifecycle start;
};  // after what is left of an earlier try is dead; answered by LifecycleTried
struct StopLifecycle {};  // likewise
struct ArmLifecycleRetry {
  std::uint32_t run;
  Duration after;
};
struct ArmGrace {
  JobId job;
  Attempt attempt;
  Duration after;
};
struct ArmHeartbeat {
  Duration interval;
};
struct ResetDevices {
  std::vector<std::string> devices;  // PCI addresses; none: all
};                                   // answered by ResetDone
struct Leave {
  std::string reason;
};  // the ranks are told to die already: exit
}  // namespace agent_effect
using AgentEffect =
    std::variant<agent_effect::Send, agent_effect::WarmUp, agent_effect::CoolDown,
                 agent_effect::StartRank, agent_effect::KillRanks, agent_effect::CollectStacks,
                 agent_effect::ArmGrace, agent_effect::ArmHeartbeat, agent_effect::Leave,
                 agent_effect::ResetDevices, agent_effect::StartCheck, agent_effect::StopCheck,
                 agent_effect::TryLifecycle, agent_effect::StopLifecycle,
                 agent_effect::ArmLifecycleRetry>;
using AgentEffects = std::vector<AgentEffect>;

// A node's side of the protocol: which ranks of which attempt live here. Same contract as the
// Controller: step() is total and reads no clock.
//
// Deep checks, lifecycle scripts and ranks never run at one time: ranks that are started end the
// others.
//
// The control plane may vanish and come back: ranks go on, and what was not delivered is told again
// in Hello. An attempt is started only when nothing of an older one lives here, and a stale message
// (an older attempt than the one known) is refused.
class AgentMachine {
 public:
  void step(Instant now, const AgentEvent& event, AgentEffects& out);

  // Some rank is between its start and its first step: worth looking often.
  [[nodiscard]] bool is_starting() const;

 private:
  struct Rank {
    enum class State { kAsked, kRunning, kEnded } state = State::kAsked;
    std::int32_t pid = 0;
    RankProgress progress;
    bool sent = false;  // the control plane has this progress
  };
  // One attempt of one job on this node. Kept after its end, for Hello, until the job is forgotten
  // or a newer attempt takes its place.
  struct Run {
    std::vector<Rank> ranks;  // by local rank
    std::uint32_t ended = 0;  // ranks
    bool has_news = true;     // some rank's progress is not sent
    server_message::StartRanks start;
    std::vector<RankExit> exits;
    bool stopping = false;
    Attempt stop_up_to;  // what the answer to StopRanks must name: this attempt or a later one
    std::optional<server_message::StartRanks> next;  // starts when this one is drained
    [[nodiscard]] bool drained() const { return ended == ranks.size(); }
    // None: no rank of this node.
    [[nodiscard]] Rank* find(std::uint32_t rank);
  };

  void on(const agent_event::Connected& connected);
  void on(const agent_event::Received& received);
  void on(const agent_event::RankStarted& started);
  void on(const agent_event::RankEnded& ended);
  void on(const agent_event::PageRead& read);
  void on(const agent_event::KernelLine& line);
  void on(const agent_event::StacksRead& read);
  void on(const agent_event::HeartbeatDue& due);
  void on(const agent_event::GraceOver& over);
  void on(const agent_event::DevicesRead& read) { tell(watch_.devices(now_, read.reading)); }
  void on(const agent_event::HostRead& read) { tell(watch_.host(now_, read.reading)); }
  void on(const agent_event::ProbeLate& late) {
    tell(watch_.probe_late(late.of_devices, late.stuck, late.evidence));
  }
  void on(const agent_event::ResetDone& done);
  void on(const agent_event::CheckDone& done);
  void on(const agent_event::LifecycleFound& found);
  void on(const agent_event::LifecycleTried& tried);
  void on(const agent_event::LifecycleRetryDue& due);

  void on_message(const server_message::Welcome& welcome);
  void on_message(const server_message::StartRanks& start);
  void on_message(const server_message::StopRanks& stop);
  void on_message(const server_message::CollectStacks& collect);
  void on_message(const server_message::WarmUp& warm_up);
  void on_message(const server_message::ForgetJob& forget);
  void on_message(const server_message::StartCheck& start);
  void on_message(const server_message::StopCheck& stop);
  void on_message(const server_message::RunLifecycle& start);
  void on_message(const server_message::Fenced& fenced);
  void on_message(const server_message::ResetDevices& reset) {
    out_->push_back(agent_effect::ResetDevices{reset.devices});
  }
  void on_message(const server_message::LogAck&) {}          // the shell's
  void on_message(const server_message::LifecycleFiles&) {}  // the shell's
  void on_message(const server_message::Inject&) {}          // the shell's

  void begin(const server_message::StartRanks& start);
  void stop_check();
  void stop_lifecycle();
  void heartbeat();
  [[nodiscard]] Run* find_run(JobId job, Attempt attempt);
  void send(AgentMessage message);
  void tell(HealthWatch::News news);

  std::map<JobId, Run> runs_;
  std::set<JobId> warm_;
  std::deque<Fault> condemning_faults_;              // told again after a reconnect; the newest 16
  std::map<std::int32_t, std::uint64_t> oom_kills_;  // pid -> bytes used
  std::uint16_t rendezvous_port_ = 0;
  HealthWatch watch_;
  // Of the step in progress.
  Instant now_;
  // The newest step of deep checks, and its answer once there is one.
  agent_message::CheckReport check_;
  enum class CheckState { kNone, kRunning, kDone } check_state_ = CheckState::kNone;
  // The newest run of lifecycle scripts, and its report once there is one.
  server_message::RunLifecycle lifecycle_;
  agent_message::LifecycleReported lifecycle_report_;
  enum class LifecycleState {
    kNone,
    kRunning,
    kPausing,
    kDone
  } lifecycle_state_ = LifecycleState::kNone;
  std::uint32_t lifecycle_cut_off_ = 0;  // by the death of an agent before this one
  AgentEffects* out_ = nullptr;
};

}  // namespace holdfast
