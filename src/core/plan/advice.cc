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
  advice.spares = spares_needed(advice.away, inputs.spares_per_mille);
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
