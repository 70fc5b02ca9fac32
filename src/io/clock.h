#pragma once

#include <cstdint>

#include "base/time.h"

namespace holdfast {

[[nodiscard]] WallTime wall_now();

// CLOCK_MONOTONIC: for deadlines, and to compare with the times on a progress page.
[[nodiscard]] std::int64_t monotonic_ns();

// Processor time that this process has used, of all its threads.
[[nodiscard]] Duration process_cpu_time();

// The cluster's own time line. clock.cc is the only file that reads clocks. Safe from any thread.
class ClusterClock {
 public:
  // Goes on from what the journal knows last, by the wall time that has passed since: nothing where
  // the wall clock was set back, at most a year where it was set far ahead.
  // A new cluster: ClusterClock({}, wall_now()).
  ClusterClock(Instant last_journaled, WallTime last_wall);

  // Never goes back while the machine is up, and never before `last_journaled`.
  [[nodiscard]] Instant now() const;

 private:
  Instant start_;
  std::int64_t start_monotonic_ns_;
};

}  // namespace holdfast
