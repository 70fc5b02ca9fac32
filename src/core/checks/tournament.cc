#include "core/checks/tournament.h"

#include <algorithm>

#include "base/check.h"

namespace holdfast {
namespace {

// Of an odd number of nodes one rests in each round: its partner is nobody.
std::size_t with_nobody(std::size_t nodes) {
  return nodes + nodes % 2;
}

}  // namespace

std::uint32_t rounds_of(std::size_t nodes) {
  if (nodes < 2) return 0;
  return static_cast<std::uint32_t>(std::min<std::size_t>(with_nobody(nodes) - 1, kRoundsMax));
}

std::vector<std::pair<std::size_t, std::size_t>> pairs_of_round(std::size_t nodes,
                                                                std::uint32_t round) {
  CHECK(round < rounds_of(nodes));
  const std::size_t seats = with_nobody(nodes);
  const std::size_t circle = seats - 1;  // the last seat stays, the others move around it
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  const auto add = [&](std::size_t a, std::size_t b) {
    if (a < nodes && b < nodes) pairs.emplace_back(std::min(a, b), std::max(a, b));
  };
  add(round, circle);
  for (std::size_t k = 1; k < seats / 2; ++k)
    add((round + k) % circle, (round + circle - k) % circle);
  return pairs;
}

}  // namespace holdfast
