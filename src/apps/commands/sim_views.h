#pragma once

// What a simulated run looks like on a terminal and in JSON. Pure.

#include <string>

#include <nlohmann/json.hpp>

#include "apps/terminal.h"
#include "sim/outcome.h"
#include "sim/scenario.h"

namespace holdfast {

// One object: goodput, digest, events, wall_s, cpu_s, simulated_s, decided_s, violations (their
// number; "violated" has them) and more.
[[nodiscard]] nlohmann::json outcome_json(const sim::Outcome& outcome);

// A screen for a person: goodput, where the time went, recoveries, what did not hold.
[[nodiscard]] std::string outcome_text(const sim::Scenario& scenario, const sim::Outcome& outcome,
                                       const Paint& paint);

// "[#####.....] 52 %": `share` is cut to 0..1.
[[nodiscard]] std::string progress_bar(double share, std::size_t columns);

}  // namespace holdfast
