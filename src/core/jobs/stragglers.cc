#include "core/jobs/stragglers.h"

#include <algorithm>
#include <vector>

namespace holdfast {
namespace {

bool is_measured(const ProgressMonitor::RankSample& sample) {
  return !sample.ended && sample.best_step_ns > 0 && sample.progress.median_step_ns > 0;
}

bool is_slow(std::int64_t step_ns, std::int64_t than_ns) {
  return than_ns > 0 && step_ns - than_ns > than_ns / 2;
}

}  // namespace

std::map<std::uint32_t, Straggler> find_stragglers(
    const std::map<std::uint32_t, ProgressMonitor::RankSample>& samples) {
  std::vector<std::int64_t> steps;
  for (const auto& [rank, sample] : samples)
    if (is_measured(sample)) steps.push_back(sample.progress.median_step_ns);
  std::map<std::uint32_t, Straggler> found;
  if (steps.empty()) return found;
  // Of two ranks the faster one: the lower middle.
  const auto middle = steps.begin() + static_cast<std::ptrdiff_t>((steps.size() - 1) / 2);
  std::ranges::nth_element(steps, middle);
  for (const auto& [rank, sample] : samples) {
    if (!is_measured(sample)) continue;
    Straggler one{.step_ns = sample.progress.median_step_ns};
    if (is_slow(one.step_ns, *middle)) one.peers_ns = *middle;
    if (is_slow(one.step_ns, sample.best_step_ns)) one.past_ns = sample.best_step_ns;
    if (one.peers_ns != 0 || one.past_ns != 0) found.emplace(rank, one);
  }
  return found;
}

}  // namespace holdfast
