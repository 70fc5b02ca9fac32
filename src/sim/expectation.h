#pragma once

#include "sim/outcome.h"
#include "sim/scenario.h"

namespace holdfast::sim {

// What the scenario says must come out and did not: as violations of the checker "expect". Pure.
[[nodiscard]] std::vector<Violation> unmet_expectations(const Scenario& scenario,
                                                        const Outcome& outcome);

}  // namespace holdfast::sim
