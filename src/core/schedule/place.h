#pragma once

#include <string>
#include <vector>

#include "core/schedule/node_index.h"
#include "model/cluster.h"

namespace holdfast {

// Which nodes a job gets. Pure. `nodes` is empty when it must wait; `reason` then says for what.
struct Allocation {
  std::vector<NodeId> nodes;  // by group rank
  std::string reason;
};

// Takes nodes in the order of their places, so that a job keeps its rank order when a spare has
// taken over a place. A job that has run before goes on with fewer nodes (down to nodes_min) at
// once; its first start waits for all it asked for as long as machines are still coming.
// O(nodes that it gets).
[[nodiscard]] Allocation allocate(const NodeIndex& nodes, const JobRecord& job);

}  // namespace holdfast
