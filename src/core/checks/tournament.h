#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace holdfast {

// Which two nodes measure their link when: a round-robin tournament (the circle method). Each node
// has at most one partner in a round, so that no measurement disturbs another one, and after all
// rounds every two nodes have met exactly once. A large set plays kRoundsMax rounds: each of its
// nodes meets that many others, which is what blame() needs.
inline constexpr std::uint32_t kRoundsMax = 16;

[[nodiscard]] std::uint32_t rounds_of(std::size_t nodes);
// Pairs of positions, each < nodes. REQUIRES: round < rounds_of(nodes).
[[nodiscard]] std::vector<std::pair<std::size_t, std::size_t>> pairs_of_round(std::size_t nodes,
                                                                              std::uint32_t round);

}  // namespace holdfast
