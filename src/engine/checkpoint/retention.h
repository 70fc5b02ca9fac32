#pragma once

#include <cstdint>
#include <vector>

#include "engine/checkpoint/manifest.h"

namespace holdfast::engine {

// Which commits of a job stay. The newest `last` do, and of each `every_steps` steps (0: of none)
// the first commit in them, so that what was chosen once is chosen again. When all that takes more
// than `bytes_max` (0: no limit), the oldest go first. The newest two always stay: an attempt that
// is being superseded right now can get at most one commit in after its successor took a base.
struct Retention {
  std::uint64_t last = 3;
  std::uint64_t every_steps = 0;
  std::uint64_t bytes_max = 0;

  friend bool operator==(const Retention&, const Retention&) = default;
};

struct CommitSize {
  Base commit;
  std::uint64_t bytes = 0;
};

// chain: newest first, as Store::chain(); so is what is given.
[[nodiscard]] std::vector<Base> kept(const std::vector<CommitSize>& chain,
                                     const Retention& retention);

}  // namespace holdfast::engine
