#include "core/checks/threshold.h"

#include <algorithm>
#include <cstdlib>

namespace holdfast {
namespace {

std::int64_t median_of(std::vector<std::int64_t>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 != 0) return *middle;
  const std::int64_t below = *std::max_element(values.begin(), middle);
  return below + (*middle - below) / 2;
}

}  // namespace

std::optional<FleetThreshold> fleet_threshold(std::vector<std::int64_t> values,
                                              bool less_is_better) {
  if (values.size() < kPeersMin) return std::nullopt;
  const std::size_t peers = values.size();
  const std::int64_t median = median_of(values);
  for (std::int64_t& value : values) value = std::abs(value - median);
  const std::int64_t noise = median_of(values) * (1483 * kDeviations) / 1000;
  const std::int64_t value = less_is_better
                                 ? std::max(median + noise, median * kTimesMedian)
                                 : std::min(median - noise, median * kShareOfMedian / 100);
  return FleetThreshold{std::max<std::int64_t>(value, 0), median, peers};
}

}  // namespace holdfast
