#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/schedule/node_index.h"
#include "model/cluster.h"

namespace holdfast {

// The free nodes that a job may have, in the order of their places, at most `limit`: those of its
// instance group, and none whose software differs from that of most of their kind, unless the job
// allows it or a software update is under way. O(free nodes).
[[nodiscard]] std::vector<NodeId> free_for(const JobSpec& spec, const ClusterState& state,
                                           const NodeIndex& nodes, std::size_t limit);

// Which nodes a job gets. Pure. `nodes` is empty when it must wait; `reason` then says for what.
struct Allocation {
  std::vector<NodeId> nodes;  // by group rank
  std::string reason;
};

// Takes nodes in the order of their places, so that a job keeps its rank order when a spare has
// taken over a place. A job that has run before goes on with fewer nodes (down to nodes_min) at
// once; its first start waits for all it asked for as long as machines are still coming.
[[nodiscard]] Allocation allocate(const JobRecord& job, const ClusterState& state,
                                  const NodeIndex& nodes);

}  // namespace holdfast
