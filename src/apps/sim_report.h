#pragma once

#include <string>
#include <vector>

#include "sim/outcome.h"
#include "sim/scenario.h"

namespace holdfast {

// The self-contained HTML page of one run: goodput over time, where the time went, one lane per
// incident. A pure function of its arguments.
[[nodiscard]] std::string sim_report(const sim::Scenario& scenario, const sim::Outcome& outcome);

// "lost work": of a part of the ledger, for people; and one sentence of what it is.
[[nodiscard]] std::string_view part_name(sim::Part part);
[[nodiscard]] std::string_view part_about(sim::Part part);
[[nodiscard]] double accelerator_hours(sim::AcceleratorTime time);
// "1,234,567", "12.3", "0.04": a number with three digits or all before the point.
[[nodiscard]] std::string number_text(double number);
// "99.31 %", also close to 0 and to 100.
[[nodiscard]] std::string percent_text(double share);

// From the fault to the first step (to the end of the run while open); what a lane shows.
[[nodiscard]] Duration recovery_time(const sim::IncidentTrace& incident, Instant end);
// Of the incidents that a fault began and that ended well; sorted.
[[nodiscard]] std::vector<Duration> recovery_times(const sim::Outcome& outcome);
// Zero: there are none.
[[nodiscard]] Duration percentile(const std::vector<Duration>& sorted, std::size_t percent);

}  // namespace holdfast
