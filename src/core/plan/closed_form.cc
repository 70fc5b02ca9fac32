#include "core/plan/closed_form.h"

#include <algorithm>
#include <cmath>

namespace holdfast {

double job_mtbf_s(std::uint32_t nodes, double node_mtbf_s) {
  return node_mtbf_s / std::max<std::uint32_t>(nodes, 1);
}

double young_interval_s(double stall_s, double mtbf_s) {
  return std::sqrt(2 * stall_s * mtbf_s);
}

double daly_interval_s(double stall_s, double mtbf_s) {
  if (stall_s >= 2 * mtbf_s) return mtbf_s;
  const double x = stall_s / (2 * mtbf_s);
  return std::sqrt(2 * stall_s * mtbf_s) * (1 + std::sqrt(x) / 3 + x / 9) - stall_s;
}

double meta_ettr(const CheckpointCosts& costs, double mtbf_s) {
  const double lost = costs.restart_s + costs.interval_s / 2 + costs.write_s;
  return std::max(0.0, 1 - lost / mtbf_s) / (1 + costs.stall_s / costs.interval_s);
}

double daly_ettr(const CheckpointCosts& costs, double mtbf_s) {
  const double segment = costs.interval_s + costs.stall_s;
  const double wall =
      mtbf_s * std::exp((costs.restart_s + costs.write_s) / mtbf_s) * std::expm1(segment / mtbf_s);
  return costs.interval_s / wall;
}

double machines_away(std::uint32_t nodes, double node_mtbf_s, double repair_s) {
  return nodes * repair_s / (node_mtbf_s + repair_s);
}

double enough_spares(double away, std::uint32_t spares) {
  double sum = 0;
  for (std::uint32_t k = 0; k <= spares; ++k)  // in logarithms: e^-away alone may underflow
    sum += std::exp(k * std::log(std::max(away, 1e-300)) - away - std::lgamma(k + 1.0));
  return std::min(sum, 1.0);
}

std::uint32_t spares_needed(double away, std::uint32_t per_mille) {
  std::uint32_t spares = 0;
  // Nobody needs more than all that are ever away, many times over.
  const auto most = static_cast<std::uint32_t>(10 * away + 100);
  while (spares < most && enough_spares(away, spares) * 1000 < per_mille) ++spares;
  return spares;
}

std::uint32_t binomial_quantile(std::uint32_t n, double p, double quantile) {
  if (p <= 0) return 0;
  double sum = 0;
  for (std::uint32_t k = 0; k < n; ++k) {
    const double choose = std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0);
    sum += std::exp(choose + k * std::log(p) + (n - k) * std::log1p(-p));
    if (sum >= quantile) return k;
  }
  return n;
}

}  // namespace holdfast
