#pragma once

// What theory says of checkpoints, restarts and spares: the first answer to "how often should I
// save, and how many machines do I need", and what the simulator is checked against. For people:
// nothing in the control plane decides by it, so floating point is allowed here (tools/tidy.py).
//
// Failures are taken to come one by one and independently (a Poisson process); where they do not (a
// rack, a lemon), the simulator knows better. All times in seconds.

#include <cstdint>

namespace holdfast {

// Of a job on `nodes` nodes, each of which fails once in `node_mtbf_s`.
[[nodiscard]] double job_mtbf_s(std::uint32_t nodes, double node_mtbf_s);

// Best time of work between two checkpoints that stop training for `stall_s` each.
// Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974.
[[nodiscard]] double young_interval_s(double stall_s, double mtbf_s);
// Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22(3),
// 2006, equation 37: right also where the stall is not small against the MTBF.
[[nodiscard]] double daly_interval_s(double stall_s, double mtbf_s);

struct CheckpointCosts {
  double interval_s = 0;  // of work between two checkpoints, > 0
  double stall_s = 0;     // training stands still
  double write_s = 0;     // from the stall to the commit; training goes on meanwhile
  double restart_s = 0;   // from a fault to the first step: noticed, drained, started, restored
};

// Share of wall time that is useful training: Kokolis and others, "Revisiting Reliability in
// Large-Scale Machine Learning Research Clusters", HPCA'25: (1 - (u0 + interval/2) / MTBF) / (1 +
// stall / interval). The time to the commit is work that a fault undoes too, so it is added to what
// is lost. First order; 0 where it would be less.
[[nodiscard]] double meta_ettr(const CheckpointCosts& costs, double mtbf_s);

// The same without the approximation of the first order: exponential failures, which may also hit a
// restart (Daly 2006, equation 20): interval / (M e^(R/M) (e^((interval + stall)/M) - 1)).
[[nodiscard]] double daly_ettr(const CheckpointCosts& costs, double mtbf_s);

// How many of the machines that fail independently are away at one time, when each is away for
// `repair_s`: Poisson with mean nodes x repair / (MTBF + repair). The fewest spares that are enough
// in `per_mille` of the time; 990 is P99.
[[nodiscard]] double machines_away(std::uint32_t nodes, double node_mtbf_s, double repair_s);
[[nodiscard]] std::uint32_t spares_needed(double away, std::uint32_t per_mille);
// Probability that at most `spares` are away.
[[nodiscard]] double enough_spares(double away, std::uint32_t spares);

// The fewest k for which at most k of n machines fail with probability `quantile`, when each does
// with probability p: the binomial quantile by which ByteRobust sizes its standbys.
[[nodiscard]] std::uint32_t binomial_quantile(std::uint32_t n, double p, double quantile);

}  // namespace holdfast
