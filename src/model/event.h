#pragma once

// The inputs of the control plane's core. Every one of them is journaled before anything that
// follows from it leaves the process; replaying them gives the same state. What comes often and
// decides nothing (heartbeats, log lines) is not an input: the monitors in core/ turn it into one
// of these when it means something.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/cluster.h"
#include "model/fault.h"
#include "model/job_spec.h"
#include "model/link.h"

namespace holdfast {

enum class TimerKind {
  kDrain,
  kStacks,
  kStart,
  kBackoff,
  kQuiet,
  kRepair,
  kCheck,
  kUpdate,
  kCapacity,
  kLifecycle,
  kNoCapacity
};
template <>
inline constexpr auto kWords<TimerKind> =
    std::to_array<std::string_view>({"drain", "stacks", "start", "backoff", "quiet", "repair",
                                     "check", "update", "capacity", "lifecycle", "no_capacity"});

// A timer belongs to one attempt of one job, or to one repair of one node (`attempt` is then the
// number of that repair) or one run of its lifecycle scripts (likewise), so a late one is
// recognised as stale; that of deep checks to their run, which has its own time.
struct TimerId {
  TimerKind kind = TimerKind::kDrain;
  JobId job;
  Attempt attempt;
  NodeId node = {};
  CheckId check;
  friend auto operator<=>(const TimerId&, const TimerId&) = default;
};

namespace event {

struct ClusterMade {
  ClusterSpec spec;
};
struct ServerStarted {};  // after a restart, once the journal is replayed
struct NodeJoined {
  agent_message::Hello hello;
};
struct NodesLost {  // in one event what was noticed at one time: the breaker judges it as a whole
  std::vector<NodeId> nodes;
  std::string reason;
  bool ended = false;  // their provider says so, and nothing is left of them: no doubt to be had
};
// Their provider has no machine to give now. Nothing has failed, and nothing of them is there.
struct CapacityMissing {
  std::vector<NodeId> nodes;
  std::string reason;
};
struct NodeFault {
  NodeId node;
  Fault fault;
  bool present = false;  // see FaultSeen
};
struct NodeFaultCleared {
  NodeId node;
  std::string kind;
  std::string device;
};
struct DevicesReset {
  NodeId node;
  bool ok = false;
  std::string detail;
};
struct RanksStarted {
  NodeId node;
  agent_message::RanksStarted started;
};
struct RankExited {
  NodeId node;
  JobId job;
  Attempt attempt;
  RankExit exit;
};
struct AttemptDrained {
  NodeId node;
  JobId job;
  Attempt attempt;
};
struct StacksCollected {
  NodeId node;
  agent_message::StacksCollected stacks;
};
// A rank passed a mark that matters: restored, first step, a commit, a failed checkpoint.
struct Progressed {
  JobId job;
  Attempt attempt;
  NodeId node;
  RankProgress progress;
};
struct RanksStalled {
  JobId job;
  Attempt attempt;
  std::vector<std::uint32_t> ranks;
  Duration for_at_least;
};
struct TimerFired {
  TimerId timer;
};
struct JobSubmitted {
  JobSpec spec;
};
struct JobStopAsked {
  JobId job;
  std::string by;
};
struct NodeReplaceAsked {
  NodeId node;
  std::string by;
};
struct NodeRebootAsked {
  NodeId node;
  std::string by;
};
// What the cluster should be from now on. Groups go by their names; their numbers, and what an
// operator has no word for (ids, clocks, limits), stay.
struct ClusterUpdateAsked {
  ClusterSpec spec;
  std::string by;
  std::string token;    // see Addition; empty: none
  std::string request;  // likewise
};
struct NodesRemoveAsked {  // and their groups shrink by them
  std::vector<NodeId> nodes;
  std::string by;
};
struct SoftwareUpdateAsked {
  std::vector<std::string> groups;  // none: all
  Deployment deployment;
  std::string by;
};
// Of the groups' schedules, when one of them has something to be done (Controller::is_due).
struct SchedulesLookedAt {
  WallTime now;  // stamped at the edge
};
// The files of a node's lifecycle scripts were read for it, and are about to be sent.
struct LifecycleFilesRead {
  NodeId node;
  std::uint32_t run = 0;
  std::string files;  // see LifecycleVersion; empty: they could not be read
  std::string error;  // why
};
struct NodeAddAsked {
  std::string by;
};  // one machine more than the provider was said to have
struct BreakerCloseAsked {
  std::string by;
};
struct RendezvousMoved {
  NodeId node;
  std::uint16_t port = 0;
};  // a node has another free port
struct ChecksAsked {
  std::vector<NodeId> nodes;
  std::vector<CheckKind> kinds;
  bool drain = false;  // of nodes with ranks: their jobs go on elsewhere
  std::string by;
};
struct CheckReported {
  NodeId node;
  agent_message::CheckReport report;
};
struct GovernanceAsked {
  GovernanceChange change;
  WallTime at;  // stamped at the edge
  std::string by;
};
struct LifecycleReported {
  NodeId node;
  agent_message::LifecycleReported report;
};
struct DownAsked {
  std::string by;
};  // the whole cluster is given back; `up` makes it anew

}  // namespace event

using Event =
    std::variant<event::ClusterMade, event::ServerStarted, event::NodeJoined, event::NodesLost,
                 event::NodeFault, event::RanksStarted, event::RankExited, event::AttemptDrained,
                 event::StacksCollected, event::Progressed, event::RanksStalled, event::TimerFired,
                 event::JobSubmitted, event::JobStopAsked, event::NodeReplaceAsked,
                 event::NodeAddAsked, event::BreakerCloseAsked, event::RendezvousMoved,
                 event::DownAsked, event::NodeFaultCleared, event::DevicesReset, event::ChecksAsked,
                 event::CheckReported, event::NodeRebootAsked, event::ClusterUpdateAsked,
                 event::NodesRemoveAsked, event::SoftwareUpdateAsked, event::GovernanceAsked,
                 event::LifecycleReported, event::SchedulesLookedAt, event::LifecycleFilesRead,
                 event::CapacityMissing>;

// What the shell must do, in this order.
namespace effect {

struct Send {
  NodeId node;
  ServerMessage message;
};
struct Provision {
  NodeId node;
};  // get a machine that joins under this id
struct Terminate {
  NodeId node;
};  // give the machine back; it is no member any more
struct Reboot {
  NodeId node;
};  // the machine starts anew and joins again under its id
struct ArmTimer {
  TimerId timer;
  Instant at;
};  // replaces an earlier one of the same id

// An attempt that went wrong, as it ended, before the next one takes its place in the record: for
// who looks into it later.
struct KeepEvidence {
  IncidentId incident;
  JobId job;
  std::string job_name;
  std::uint32_t attempts_without_progress = 0;  // before it
  AttemptRecord attempt;
};

// For people: what happened and why. Kept with the event that caused it.
enum class Severity { kInfo, kWarning, kAlert };
// What alerts there are: the names of alarms that roll a software update back.
inline constexpr auto kAlertKinds = std::to_array<std::string_view>(
    {"breaker.open", "checkpoint.failed", "cluster.phase", "job.failed", "node.fault",
     "node.lifecycle_failed", "pool.not_refilled", "update.failed"});
struct Audit {
  Severity severity = Severity::kInfo;
  std::string kind;  // "node.lost", "job.started", ...: stable, dotted
  std::string text;
  NodeId node;
  JobId job;
  IncidentId incident;
};

}  // namespace effect

template <>
inline constexpr auto kWords<effect::Severity> = std::to_array<std::string_view>({"info", "warning",
                                                                                  "alert"});

using Effect = std::variant<effect::Send, effect::Provision, effect::Terminate, effect::ArmTimer,
                            effect::Audit, effect::KeepEvidence, effect::Reboot>;
using Effects = std::vector<Effect>;

}  // namespace holdfast
