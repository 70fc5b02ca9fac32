#pragma once

// How often to save, how many spares to hold, and what goodput to expect: the closed forms put
// together for one job on a whole cluster. For people; nothing in the control plane decides by it.

#include <cstdint>
#include <vector>

#include "core/plan/closed_form.h"

namespace holdfast {

struct PlanInputs {
  std::uint32_t nodes = 1;
  std::uint32_t accelerators_per_node = 8;
  double node_mtbf_s = 0;  // of one node, all causes that interrupt the job
  double stall_s = 0;      // training stands still for a checkpoint
  double write_s = 0;      // from the stall to the commit; training goes on
  double restart_s = 0;    // from a fault to the next step
  double repair_s = 0;     // until the machine that failed, or another one, is there again
};

struct PlanPoint {
  double interval_s = 0;
  double goodput = 0;
};

struct PlanGain {
  double accelerator_hours = 0;  // useful ones more, in 30 days
  double costs = 0;              // accelerator-hours that it takes, in 30 days; 0: none
};

struct Advice {
  double job_mtbf_s = 0;
  double young_s = 0, daly_s = 0;
  // The best interval: Daly's, but no shorter than a checkpoint takes to write.
  double interval_s = 0;
  // Where goodput is within a thousandth of the best.
  double interval_least_s = 0, interval_most_s = 0;
  double away = 0;               // machines, on average
  std::uint32_t spares = 0;      // the next one would cost more accelerator-hours than it brings
  std::uint32_t spares_p99 = 0;  // enough in 99 % of the time
  double goodput = 0;            // Daly's, times the share of time in which the spares are enough
  double goodput_meta = 0;       // Meta's expected ETTR, likewise
  std::vector<PlanPoint> curve;  // over the interval, from a tenth of the best to ten times
  PlanGain one_more_spare, one_spare_less;
  PlanGain restart_faster;  // by `restart_faster_s`
  double restart_faster_s = 0;
  PlanGain stall_halved;
  PlanGain repair_halved;  // with the same spares
};

// REQUIRES: nodes, node_mtbf_s > 0; the others >= 0.
[[nodiscard]] Advice advise(const PlanInputs& inputs);

// Of a fixed-size job that saves every `interval_s` and waits when more than `spares` are away.
[[nodiscard]] double expected_goodput(const PlanInputs& inputs, double interval_s,
                                      std::uint32_t spares);

}  // namespace holdfast
