#include "core/plan/advice.h"

#include <algorithm>
#include <cmath>

namespace holdfast {
namespace {

constexpr double kMonthHours = 720;

CheckpointCosts costs_of(const PlanInputs& inputs, double interval_s) {
  return {interval_s, inputs.stall_s, inputs.write_s, inputs.restart_s};
}

double away_of(const PlanInputs& inputs) {
  return machines_away(inputs.nodes, inputs.node_mtbf_s, inputs.repair_s);
}

double best_interval_s(const PlanInputs& inputs) {
  const double daly = daly_interval_s(inputs.stall_s, job_mtbf_s(inputs.nodes, inputs.node_mtbf_s));
  // One checkpoint is written at a time; without any stall it would be a second.
  return std::max({daly, inputs.write_s, 1.0});
}

double best_goodput(const PlanInputs& inputs, std::uint32_t spares) {
  return expected_goodput(inputs, best_interval_s(inputs), spares);
}

// While one more brings more useful nodes than the one that it is.
std::uint32_t worthwhile_spares(const PlanInputs& inputs) {
  const auto most = static_cast<std::uint32_t>(10 * away_of(inputs) + 100);
  std::uint32_t spares = 0;
  double goodput = best_goodput(inputs, 0);
  while (spares < most) {
    const double next = best_goodput(inputs, spares + 1);
    // Below the mean one more may bring less than the one after it.
    if ((next - goodput) * inputs.nodes <= 1 && spares + 1 > away_of(inputs)) break;
    goodput = next;
    ++spares;
  }
  return spares;
}

}  // namespace

double expected_goodput(const PlanInputs& inputs, double interval_s, std::uint32_t spares) {
  return daly_ettr(costs_of(inputs, interval_s), job_mtbf_s(inputs.nodes, inputs.node_mtbf_s)) *
         enough_spares(away_of(inputs), spares);
}

Advice advise(const PlanInputs& inputs) {
  Advice advice;
  advice.job_mtbf_s = job_mtbf_s(inputs.nodes, inputs.node_mtbf_s);
  advice.young_s = young_interval_s(inputs.stall_s, advice.job_mtbf_s);
  advice.daly_s = daly_interval_s(inputs.stall_s, advice.job_mtbf_s);
  advice.interval_s = best_interval_s(inputs);
  advice.away = away_of(inputs);
  advice.spares_p99 = spares_needed(advice.away, 990);
  advice.spares = worthwhile_spares(inputs);
  advice.goodput = expected_goodput(inputs, advice.interval_s, advice.spares);
  advice.goodput_meta = meta_ettr(costs_of(inputs, advice.interval_s), advice.job_mtbf_s) *
                        enough_spares(advice.away, advice.spares);

  advice.interval_least_s = advice.interval_most_s = advice.interval_s;
  constexpr int kPoints = 80;
  for (int i = -kPoints; i <= kPoints; ++i) {
    const double interval = advice.interval_s * std::pow(10, static_cast<double>(i) / kPoints);
    const double goodput = expected_goodput(inputs, interval, advice.spares);
    advice.curve.push_back({interval, goodput});
    if (goodput < advice.goodput - 0.001) continue;
    advice.interval_least_s = std::min(advice.interval_least_s, interval);
    advice.interval_most_s = std::max(advice.interval_most_s, interval);
  }

  const double month = kMonthHours * inputs.nodes * inputs.accelerators_per_node;
  const double spare_month = kMonthHours * inputs.accelerators_per_node;
  const auto gain = [&](double goodput) { return (goodput - advice.goodput) * month; };
  advice.one_more_spare = {gain(best_goodput(inputs, advice.spares + 1)), spare_month};
  if (advice.spares > 0)
    advice.one_spare_less = {gain(best_goodput(inputs, advice.spares - 1)), -spare_month};
  PlanInputs better = inputs;
  advice.restart_faster_s = std::min(10.0, inputs.restart_s / 2);
  better.restart_s -= advice.restart_faster_s;
  advice.restart_faster = {gain(best_goodput(better, advice.spares)), 0};
  better = inputs;
  better.stall_s /= 2;
  advice.stall_halved = {gain(best_goodput(better, advice.spares)), 0};
  better = inputs;
  better.repair_s /= 2;
  advice.repair_halved = {gain(best_goodput(better, advice.spares)), 0};
  return advice;
}

}  // namespace holdfast
