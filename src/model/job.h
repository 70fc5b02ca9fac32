#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/enum_text.h"
#include "model/fault.h"
#include "model/job_spec.h"
#include "model/link.h"

namespace holdfast {

// queued -> starting -> running -> recovering -> {starting | queued | failed}
// any of these -> stopping -> stopped; running -> succeeded
enum class JobState {
  kQueued,
  kStarting,
  kRunning,
  kRecovering,
  kStopping,
  kSucceeded,
  kFailed,
  kStopped
};
template <>
inline constexpr auto kWords<JobState> = std::to_array<std::string_view>(
    {"queued", "starting", "running", "recovering", "stopping", "succeeded", "failed", "stopped"});

// One start of all ranks of a job, and what is known of how it ended.
struct AttemptRecord {
  Attempt number;
  Instant started;
  std::vector<NodeId> nodes;     // by group rank
  std::vector<NodeId> replicas;  // by group rank: who keeps the second copy of its snapshots
  // Where the ranks meet. Of the whole attempt: a node that is told late is told the same.
  std::string master_address;
  std::uint16_t master_port = 0;
  std::uint32_t ranks_per_node = 1;
  std::set<NodeId> not_started;       // have not said RanksStarted
  std::set<NodeId> not_drained;       // may have a live rank of it
  std::vector<RankExit> exits;        // in the order in which they were heard of
  std::vector<NodeId> nodes_lost;     // while it ran, or while it was drained
  std::vector<Evidence> node_faults;  // why its nodes were taken away
  std::string planned;                // why we stopped it ourselves; empty: we did not
  bool collecting_stacks = false;     // a hang: nothing is killed before the stacks are in
  std::vector<agent_message::StacksCollected> stacks;
  std::set<std::uint32_t> stalled;  // ranks that made no progress
  bool made_step = false;
  std::uint64_t step = 0;  // furthest
  std::optional<std::uint64_t> restored_step;
};

// Who had the snapshots of a job's ranks in memory, by group rank: those of the last attempt that
// made a step.
struct SnapshotHolders {
  std::vector<NodeId> nodes;
  std::vector<NodeId> replicas;
};

// A node that an attempt's end points to without proof.
struct Suspicion {
  NodeId node;
  std::uint32_t rank = 0;
  Instant at;
};

struct JobRecord {
  JobId id;
  JobSpec spec;
  JobState state = JobState::kQueued;
  std::string reason;  // what it waits for, or why it ended
  Instant submitted;
  std::optional<Instant> ended;
  std::optional<Instant> not_before;  // queued: do not start earlier (back-off)
  SnapshotHolders snapshots;
  AttemptRecord attempt;           // the current or the last one; number 0 before the first
  std::uint64_t step_reached = 0;  // furthest in any attempt
  std::optional<std::uint64_t> committed_step;
  std::uint32_t attempts_without_progress = 0;  // in a row, infrastructure left out
  std::uint32_t out_of_memory_without_progress = 0;
  std::vector<Suspicion> suspicions;      // of the last week, the newest 64
  std::uint64_t checkpoint_failures = 0;  // of the current attempt
  bool checkpoints_fail = false;          // alerted, and nothing was committed since
  IncidentId incident;                    // the open one
  std::optional<Verdict> last_verdict;
  std::int32_t exit_code = 0;  // for the command that waits for the job

  [[nodiscard]] bool has_ended() const { return state >= JobState::kSucceeded; }
  // Ranks of `attempt` run or are meant to.
  [[nodiscard]] bool is_live() const {
    return state == JobState::kStarting || state == JobState::kRunning;
  }
};

}  // namespace holdfast
