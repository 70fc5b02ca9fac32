#include "core/checkpoint/replicas.h"

#include <algorithm>
#include <numeric>

namespace holdfast {

std::vector<std::uint32_t> place_replicas(const std::vector<std::string>& domains) {
  const std::size_t nodes = domains.size();
  std::vector<std::uint32_t> circle(nodes);
  std::iota(circle.begin(), circle.end(), 0u);
  std::stable_sort(circle.begin(), circle.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return domains[a] < domains[b]; });
  std::size_t largest = 0;
  for (std::size_t i = 0, first = 0; i < nodes; ++i) {
    if (domains[circle[i]] != domains[circle[first]]) first = i;
    largest = std::max(largest, i - first + 1);
  }
  const std::size_t step = largest < nodes ? largest : 1;  // one domain only: another node of it
  std::vector<std::uint32_t> keeper(nodes);
  for (std::size_t i = 0; i < nodes; ++i) keeper[circle[i]] = circle[(i + step) % nodes];
  return keeper;
}

}  // namespace holdfast
