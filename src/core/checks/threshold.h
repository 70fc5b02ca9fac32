#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace holdfast {

// The worst value that a healthy member of a fleet shows, from the values of its peers: their
// median, and their spread as the median of absolute deviations from it (MAD), which up to half of
// them being bad does not move much. 1.4826 MADs are a standard deviation of normal noise.
struct FleetThreshold {
  std::int64_t value = 0;
  std::int64_t median = 0;
  std::size_t peers = 0;
};

inline constexpr std::size_t kPeersMin = 3;  // fewer say nothing about what is usual
// Beyond both of these a value is no noise: this many standard deviations, and this share of the
// median, because the MAD of a few values that happen to be close is next to nothing.
inline constexpr std::int64_t kDeviations = 5;
inline constexpr std::int64_t kShareOfMedian = 60;  // per cent; a bandwidth below it
inline constexpr std::int64_t kTimesMedian = 3;     // where less is better: a latency above it
// Larger values do not come from a measurement; callers refuse them.
inline constexpr std::int64_t kValueMax = 1'000'000'000'000'000;

// nullopt: too few peers. REQUIRES: 0 <= value <= kValueMax of each.
[[nodiscard]] std::optional<FleetThreshold> fleet_threshold(std::vector<std::int64_t> values,
                                                            bool less_is_better);

[[nodiscard]] inline bool is_beyond(std::int64_t value, std::int64_t threshold,
                                    bool less_is_better) {
  return less_is_better ? value > threshold : value < threshold;
}

}  // namespace holdfast
