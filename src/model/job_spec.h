#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/time.h"

namespace holdfast {

// Where a job keeps its checkpoints. Holdfast hands the values to the ranks; holdfast.checkpoint in
// Python obeys them.
struct CheckpointSpec {
  std::string folder;                // absolute; empty: the job has none
  std::uint32_t interval_steps = 0;  // 0: the script decides
  std::uint32_t keep = 3;            // the newest commits stay, >= 1
  std::uint64_t keep_every = 0;      // steps, of which one commit stays; 0: of none
  std::uint64_t budget_bytes = 0;    // for all that stays; 0: no limit

  friend bool operator==(const CheckpointSpec&, const CheckpointSpec&) = default;
};

// When to give up. Infrastructure never counts against it.
struct RetryPolicy {
  std::uint32_t attempts_without_progress_max = 3;  // >= 1

  friend bool operator==(const RetryPolicy&, const RetryPolicy&) = default;
};

// A rank that makes no step for max(stall_min, stall_factor x its own median step) hangs. A script
// with long phases between steps (evaluation) calls holdfast.progress() in them or raises
// stall_min. Before the first step of an attempt only a job that has made steps before can be held
// to hang, by how long its starts took; with first_step_max, which says that the program makes
// steps, every attempt.
struct HangPolicy {
  Duration stall_min = seconds(30);
  std::uint32_t stall_factor = 10;
  Duration first_step_max;  // zero: not given

  friend bool operator==(const HangPolicy&, const HangPolicy&) = default;
};

// What a person asks for. Validated by check_job_spec() before it enters the core.
struct JobSpec {
  std::string name;   // unique among the cluster's jobs that have not ended; [a-z0-9-]{1,63}
  std::string owner;  // who submitted it
  std::string team;
  std::uint32_t nodes_min = 1;  // goes on with this many when nodes are lost and none is free
  std::uint32_t nodes_max = 1;  // what it asks for
  std::uint32_t ranks_per_node = 1;
  std::string instance_group;  // whose nodes it may have; empty: those of all
  bool allow_drifted = false;  // also nodes whose software differs from that of most of their kind
  std::vector<std::string> command;
  std::map<std::string, std::string> environment;
  std::string working_folder;  // absolute
  CheckpointSpec checkpoint;
  RetryPolicy retry;
  HangPolicy hang;
  std::uint64_t memory_limit_bytes = 0;  // per rank; 0: the node's memory is the limit
  std::string request_token;             // the same token again is the same job, not a second one

  friend bool operator==(const JobSpec&, const JobSpec&) = default;
};

}  // namespace holdfast
