#pragma once

#include <string>

#include "base/time.h"
#include "model/job.h"

namespace holdfast {

// What to do with a job whose attempt has ended without success. Pure.
struct RecoveryDecision {
  bool start_again = false;
  Duration wait;             // before the next start
  bool other_nodes = false;  // move away from the nodes that the verdict names
  std::string reason;        // for the person: why it stops, waits or moves
};

// The counters of a job, as they stand with this attempt counted in. Infrastructure's failures
// never count against the job; its own count only while no attempt gets further than the ones
// before.
struct RetryCount {
  std::uint32_t without_progress = 0;
  std::uint32_t out_of_memory = 0;
  std::uint32_t same_suspect = 0;  // times that the node was named without proof, with this one
};

[[nodiscard]] RecoveryDecision decide_recovery(const JobSpec& spec, const Verdict& verdict,
                                               const RetryCount& count);

// The job's own doing, or nobody's proven: counts against its retry budget.
[[nodiscard]] bool counts_against_job(const Verdict& verdict);

}  // namespace holdfast
