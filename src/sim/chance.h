#pragma once

#include <cstdint>

#include "base/prng.h"
#include "base/time.h"
#include "sim/scenario.h"

namespace holdfast::sim {

// Uniform in [span.least, span.most].
[[nodiscard]] Duration draw(Prng& prng, const Span& span);

// The time to the next of events that come by chance, `per_billion_hours` of them on average:
// exponentially distributed, in integers. At most three hundred years. REQUIRES: a rate above 0.
[[nodiscard]] Duration draw_wait(Prng& prng, std::uint64_t per_billion_hours);

// A number that depends on its arguments alone, however often and in which order it is asked for.
[[nodiscard]] std::uint64_t mix(std::uint64_t a, std::uint64_t b);

}  // namespace holdfast::sim
