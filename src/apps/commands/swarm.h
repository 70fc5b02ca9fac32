#pragma once

#include <cstdint>
#include <functional>

#include "sim/swarm.h"

namespace holdfast {

// sim::swarm() on several threads, one seed per thread at a time; the result does not depend on how
// many. `on_seed` is called from the calling thread, in the order of the seeds.
[[nodiscard]] sim::SwarmResult swarm_on_threads(
    std::uint64_t first, std::uint64_t count, unsigned threads,
    const std::function<bool(const sim::Outcome&)>& on_seed);

}  // namespace holdfast
