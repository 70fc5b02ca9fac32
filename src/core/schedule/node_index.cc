#include "core/schedule/node_index.h"

namespace holdfast {

NodeIndex::NodeIndex(const ClusterState& state) {
  set_places(state.spec.nodes);
  for (const auto& [id, node] : state.nodes) add(node);
}

void NodeIndex::set_places(std::uint32_t count) {
  places = count;
  empty_places.clear();
  for (std::uint32_t place = 1; place <= places; ++place)
    empty_places.insert(empty_places.end(), place);
}

void NodeIndex::count(const NodeRecord& node, bool is_there) {
  const std::uint32_t one = is_there ? 1u : ~0u;  // counts wrap around: down by one
  const auto put = [is_there](auto& set, const auto& key) {
    if (is_there)
      set.insert(key);
    else
      set.erase(key);
  };
  const bool is_provisioning = node.is_coming();
  const bool is_healthy = node.state == NodeState::kHealthy;
  if (node.is_live()) put(live, node.id);
  const bool is_checking = node.state == NodeState::kDeepHealthCheck;
  if (is_provisioning) provisioning += one;
  if (is_checking) checking += one;
  if (node.place == 0) {
    if (is_healthy && !node.job) put(idle_spares, node.id);
    return;
  }
  filled += one;
  if (node.place <= places) {
    if (is_there)
      empty_places.erase(node.place);
    else
      empty_places.insert(node.place);
  }
  if (is_provisioning || is_checking) coming += one;
  if (node.state == NodeState::kSuspect) suspect += one;
  if (!is_healthy) return;
  if (node.job) {
    busy += one;
  } else if (is_there) {
    free.emplace(node.place, node.id);
  } else {
    free.erase(node.place);
  }
}

}  // namespace holdfast
