#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/event.h"
#include "model/job.h"

namespace holdfast {

inline constexpr Duration kFirstStepMost = minutes(15);

// Turns the stream of heartbeats into the few facts that decide something: a rank has restored,
// made its first step, committed, failed to save; ranks have stopped making steps. Soft state: it
// is rebuilt from heartbeats after a restart and is not journaled.
//
// A rank hangs when it has made no step for max(stall_min, stall_factor x its median step) while it
// is alive. The clock of a rank starts with the first step of any rank of the attempt. Before that
// the limit is first_step_max. Where that is not given, only a job that made steps in an earlier
// attempt can hang: when it takes stall_factor x the longest start that was seen, or, after a
// restart of ours, stall_factor x stall_min; at most kFirstStepMost, or stall_min if that is more.
class ProgressMonitor {
 public:
  struct RankSample {
    RankProgress progress;
    Instant changed_at;  // of steps_this_attempt
    bool ended = false;
    // The window over which the rate is measured.
    Instant window_start;
    std::uint64_t window_first_step = 0;
    Duration window;  // zero: not measured yet
    std::uint64_t window_steps = 0;
    // The shortest median step of this attempt; 0: not enough steps yet.
    std::int64_t best_step_ns = 0;
  };

  // One rank's page, as a heartbeat brought it. `job` is the controller's record of the job; a
  // sample of another attempt than its current one must not be passed.
  // Returns the event to journal, if the sample says something new.
  std::optional<event::Progressed> seen(const JobRecord& job, NodeId node,
                                        const RankProgress& progress, Instant now);
  void ended(JobId job, Attempt attempt, std::uint32_t rank);
  void forget(JobId job);
  // Nobody was listened to until `now`: no rank is held to have stood still before it.
  void start_afresh(Instant now);

  // Hangs found by now; each attempt is reported once.
  [[nodiscard]] std::vector<event::RanksStalled> take_stalled(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const;

  // By rank; empty when nothing was heard of the attempt.
  [[nodiscard]] const std::map<std::uint32_t, RankSample>& samples(JobId job) const;

 private:
  struct Watch {
    Attempt attempt;
    HangPolicy policy;
    std::map<std::uint32_t, RankSample> ranks;
    bool made_step = false;
    bool restored = false;
    std::optional<std::uint64_t> committed;
    std::uint64_t failures = 0;
    bool reported = false;
    Instant began;                             // when it was first heard of
    Duration start_took;                       // longest of all attempts; zero: not known
    std::optional<Duration> first_step_limit;  // nullopt: none
    std::optional<Instant> check_at;           // nullopt: nothing to check
    Instant afresh_at;                         // what stood still before it is not held against it
  };
  std::map<JobId, Watch> watches_;
};

}  // namespace holdfast
