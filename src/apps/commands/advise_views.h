#pragma once

// What `holdfast advise` says, as text, JSON and a page with a picture. Pure.

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "apps/terminal.h"
#include "core/plan/advice.h"
#include "sim/outcome.h"
#include "sim/scenario.h"

namespace holdfast {

// One point of the curve, simulated.
struct SimulatedPoint {
  double interval_s = 0;
  double goodput = 0;
  double closed_form = 0;  // for the same interval and spares
  Duration simulated;
  std::uint64_t incidents = 0;
};

struct AdviceShown {
  PlanInputs inputs;
  Advice advice;
  std::vector<SimulatedPoint>
      simulated;                   // empty: not asked for; else the first is the best interval
  std::vector<std::string> notes;  // where the inputs come from
};

// The scenario that simulates one point: a fixed-size job, machines that die one by one.
// Its restart is what the inputs say, from the fault to the next step; `length` is its duration.
[[nodiscard]] sim::Scenario advised_scenario(const PlanInputs& inputs, double interval_s,
                                             std::uint32_t spares, Duration length);

[[nodiscard]] std::string advice_text(const AdviceShown& shown, const Paint& paint);
[[nodiscard]] nlohmann::json advice_json(const AdviceShown& shown);
[[nodiscard]] std::string advice_page(const AdviceShown& shown);

}  // namespace holdfast
