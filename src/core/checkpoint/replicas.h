#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace holdfast {

// Where the second copy of each node's snapshots is kept: by group rank, the group rank of another
// node, in another failure domain than its own where that is possible for all. Each node keeps one
// copy, so the memory and the traffic are the same everywhere. `domains`: by group rank, what fails
// together (a rack, a host). A node alone keeps its own. O(n log n).
//
// Intuition: everyone in a circle, domain beside domain; each hands its copy on by as many places
// as the largest domain has members. If that is at most half of the circle, no copy stays at home.
[[nodiscard]] std::vector<std::uint32_t> place_replicas(const std::vector<std::string>& domains);

}  // namespace holdfast
