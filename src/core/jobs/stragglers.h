#pragma once

#include <cstdint>
#include <map>

#include "core/jobs/progress_monitor.h"

namespace holdfast {

// A rank whose steps take half as long again as they should. Ranks that wait for each other in each
// step are slow together: then all are slow against their past, and none against its peers.
struct Straggler {
  std::int64_t step_ns = 0;   // its median step now
  std::int64_t peers_ns = 0;  // the median of its peers; 0: not slow against them
  std::int64_t past_ns = 0;   // its own best median of this attempt; 0: not slow against it

  friend bool operator==(const Straggler&, const Straggler&) = default;
};

// By rank. Ranks that have ended, or have not made enough steps to be measured, are left out.
[[nodiscard]] std::map<std::uint32_t, Straggler> find_stragglers(
    const std::map<std::uint32_t, ProgressMonitor::RankSample>& samples);

}  // namespace holdfast
