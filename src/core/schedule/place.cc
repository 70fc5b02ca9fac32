#include "core/schedule/place.h"

#include <algorithm>

namespace holdfast {

Allocation allocate(const ClusterState& state, const JobRecord& job) {
  std::vector<const NodeRecord*> free;
  std::uint32_t filled = 0, coming = 0, coming_spares = 0, suspect = 0, busy = 0;
  for (const auto& [id, node] : state.nodes) {
    const bool provisioning = node.state == NodeState::kProvisioning;
    if (node.place == 0) {
      if (provisioning) ++coming_spares;
      continue;
    }
    ++filled;
    if (provisioning) ++coming;
    if (node.state == NodeState::kSuspect) ++suspect;
    if (node.state != NodeState::kHealthy) continue;
    if (node.job)
      ++busy;
    else
      free.push_back(&node);
  }
  coming += std::min(coming_spares, state.spec.nodes - filled);  // each takes an empty place
  std::sort(free.begin(), free.end(),
            [](const NodeRecord* a, const NodeRecord* b) { return a->place < b->place; });

  const bool first_start = !job.attempt.number;
  const std::uint32_t enough = first_start && coming > 0 ? job.spec.nodes_max : job.spec.nodes_min;
  if (free.size() < enough) {
    std::string reason = "waits for " + std::to_string(enough - free.size()) +
                         " more node(s): " + std::to_string(free.size()) + " of " +
                         std::to_string(enough) + " are healthy and free";
    if (busy > 0) reason += ", " + std::to_string(busy) + " run other jobs";
    if (coming > 0) reason += ", " + std::to_string(coming) + " are being provisioned";
    if (suspect > 0)
      reason += ", " + std::to_string(suspect) + " are suspect until `holdfast breaker close`";
    if (coming == 0 && busy == 0 && suspect == 0) reason += "; add one with `holdfast node add`";
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
