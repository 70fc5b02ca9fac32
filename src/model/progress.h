#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace holdfast {

// What one rank says of itself through its shared-memory page (python/holdfast/page.py has the
// layout). Times on the page are not carried: clocks of two nodes do not compare.
struct RankProgress {
  std::uint32_t rank = 0;
  std::uint64_t step = 0;  // absolute where the script or its checkpoint tells, see page.py
  std::uint64_t steps_this_attempt = 0;
  double loss = 0;                  // NaN: unknown
  std::uint64_t tokens = 0;         // this attempt
  std::int64_t median_step_ns = 0;  // 0: not known yet
  std::optional<std::uint64_t> restored_step;
  std::optional<std::uint64_t> committed_step;
  std::uint64_t checkpoint_failures = 0;
  std::string checkpoint_error;  // text of the last failure

  // NaN compares unequal, so equality is by what a listener would react to.
  [[nodiscard]] bool same_as(const RankProgress& other) const {
    return steps_this_attempt == other.steps_this_attempt && step == other.step &&
           restored_step == other.restored_step && committed_step == other.committed_step &&
           checkpoint_failures == other.checkpoint_failures;
  }
};

}  // namespace holdfast
