#include "core/schedule/place.h"

#include <algorithm>

namespace holdfast {

Allocation allocate(const NodeIndex& nodes, const JobRecord& job) {
  const std::uint32_t coming = nodes.coming_to_places();
  const bool first_start = !job.attempt.number;
  const std::uint32_t enough = first_start && coming > 0 ? job.spec.nodes_max : job.spec.nodes_min;
  if (nodes.free.size() < enough) {
    std::string reason = "waits for " + std::to_string(enough - nodes.free.size()) +
                         " more node(s): " + std::to_string(nodes.free.size()) + " of " +
                         std::to_string(enough) + " are healthy and free";
    if (nodes.busy > 0) reason += ", " + std::to_string(nodes.busy) + " run other jobs";
    if (coming > 0) reason += ", " + std::to_string(coming) + " are being provisioned";
    if (nodes.suspect > 0)
      reason += ", " + std::to_string(nodes.suspect) + " are suspect: see `holdfast node list`";
    if (coming == 0 && nodes.busy == 0 && nodes.suspect == 0)
      reason += "; add one with `holdfast node add`";
    return {{}, reason};
  }
  Allocation allocation;
  for (const auto& [place, node] : nodes.free) {
    if (allocation.nodes.size() == job.spec.nodes_max) break;
    allocation.nodes.push_back(node);
  }
  return allocation;
}

}  // namespace holdfast
