#include "io/clock.h"

#include <time.h>

#include <algorithm>

namespace holdfast {

namespace {

// A wall clock that was set wrong must not carry the cluster's time to its end.
constexpr std::int64_t kRestartGapMaxNs = 365ll * 24 * 3600 * 1'000'000'000;

std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

}  // namespace

WallTime wall_now() {
  return {read_clock(CLOCK_REALTIME)};
}

std::int64_t monotonic_ns() {
  return read_clock(CLOCK_MONOTONIC);
}

Duration process_cpu_time() {
  return {read_clock(CLOCK_PROCESS_CPUTIME_ID)};
}

ClusterClock::ClusterClock(Instant last_journaled, WallTime last_wall)
    : start_(last_journaled), start_monotonic_ns_(monotonic_ns()) {
  const std::int64_t now = wall_now().ns;
  if (now > last_wall.ns) {
    // Unsigned: a wall time far before 1970 must not overflow.
    const auto gap = static_cast<std::uint64_t>(now) - static_cast<std::uint64_t>(last_wall.ns);
    start_.ns += static_cast<std::int64_t>(std::min<std::uint64_t>(gap, kRestartGapMaxNs));
  }
}

Instant ClusterClock::now() const {
  return start_ + nanoseconds(monotonic_ns() - start_monotonic_ns_);
}

}  // namespace holdfast
