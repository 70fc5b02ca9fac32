#include "core/schedule/place.h"

#include <algorithm>

namespace holdfast {

Allocation allocate(const ClusterState& state, const JobRecord& job) {
  std::vector<const NodeRecord*> free;
  std::uint32_t coming = 0;
  std::uint32_t busy = 0;
  for (const auto& [id, node] : state.nodes) {
    if (node.place == 0) continue;
    if (node.state == NodeState::kProvisioning) ++coming;
    if (node.state != NodeState::kHealthy) continue;
    if (node.job) ++busy;
    else free.push_back(&node);
  }
  std::sort(free.begin(), free.end(),
            [](const NodeRecord* a, const NodeRecord* b) { return a->place < b->place; });

  const bool first_start = !job.attempt.number;
  const std::uint32_t enough = first_start && coming > 0 ? job.spec.nodes_max : job.spec.nodes_min;
  if (free.size() < enough) {
    std::string reason = "waits for " + std::to_string(enough - free.size()) + " more node(s): " +
                         std::to_string(free.size()) + " of " + std::to_string(enough) +
                         " are healthy and free";
    if (busy > 0) reason += ", " + std::to_string(busy) + " run other jobs";
    if (coming > 0) reason += ", " + std::to_string(coming) + " are being provisioned";
    if (coming == 0 && busy == 0) reason += "; add one with `holdfast node add`";
    return {{}, reason};
  }
  Allocation allocation;
  for (const NodeRecord* node : free) {
    if (allocation.nodes.size() == job.spec.nodes_max) break;
    allocation.nodes.push_back(node->id);
  }
  return allocation;
}

}  // namespace holdfast
