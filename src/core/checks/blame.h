#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace holdfast {

// A link that was measured, between positions of nodes.
struct MeasuredLink {
  std::size_t a = 0;
  std::size_t b = 0;
  bool is_bad = false;
};

struct Blame {
  std::vector<std::size_t> nodes;                          // ascending
  std::vector<std::pair<std::size_t, std::size_t>> links;  // bad, and neither end is blamed

  friend bool operator==(const Blame&, const Blame&) = default;
};

// Which nodes, and which single links, explain the bad measurements. Node after node, that one is
// blamed of which the largest share of links (to those not blamed yet) is bad, as long as these are
// two or more and more than half; what is bad then and has no blamed end is a link's own trouble.
//
// So a node is found whatever else is bad as long as most of the nodes it met are well; of two
// nodes that met only each other nobody can tell which one it is.
[[nodiscard]] Blame blame(std::size_t nodes, const std::vector<MeasuredLink>& links);

}  // namespace holdfast
