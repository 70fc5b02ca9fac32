#include "core/schedule/node_index.h"

#include <algorithm>

namespace holdfast {

NodeIndex::NodeIndex(const ClusterState& state) {
  for (const GroupRecord& group : state.groups) {
    groups[group.number];
    for (const std::uint32_t place : group.places) add_place(place, group.number);
  }
  for (const auto& [id, node] : state.nodes) {
    add(node);
    add_software(node);
  }
}

void NodeIndex::add_software(const NodeRecord& node) {
  if (node.state == NodeState::kGone || node.software.empty()) return;
  software[{node.group, node.instance_type}].add(node.software);
}

void NodeIndex::remove_software(const NodeRecord& node) {
  if (node.state == NodeState::kGone || node.software.empty()) return;
  const auto kind = software.find({node.group, node.instance_type});
  kind->second.remove(node.software);
  if (kind->second.is_empty()) software.erase(kind);
}

void NodeIndex::add_place(std::uint32_t place, std::uint32_t group) {
  groups[group].empty_places.insert(place);
}

void NodeIndex::remove_place(std::uint32_t place, std::uint32_t group) {
  groups[group].empty_places.erase(place);
}

bool operator==(const NodeIndex& a, const NodeIndex& b) {
  const auto known = [](const NodeIndex& index) {
    auto groups = index.groups;
    std::erase_if(groups, [](const auto& entry) { return entry.second == NodeIndex::Group{}; });
    return groups;
  };
  return known(a) == known(b) && a.free == b.free && a.left == b.left &&
         a.idle_spares == b.idle_spares && a.live == b.live && a.provisioning == b.provisioning &&
         a.checking == b.checking && a.coming == b.coming && a.suspect == b.suspect &&
         a.busy == b.busy && a.software == b.software;
}

std::uint32_t NodeIndex::coming_to_places() const {
  std::uint32_t sum = coming;
  for (const auto& [number, group] : groups)
    sum += std::min(group.coming_spares, static_cast<std::uint32_t>(group.empty_places.size()));
  return sum;
}

std::uint32_t NodeIndex::coming_to_places(std::uint32_t group) const {
  const auto found = groups.find(group);
  if (found == groups.end()) return 0;
  const Group& members = found->second;
  return members.coming - members.coming_spares +
         std::min(members.coming_spares, static_cast<std::uint32_t>(members.empty_places.size()));
}

bool NodeIndex::has_drift() const {
  return std::ranges::any_of(software, [](const auto& kind) { return !kind.second.all_alike(); });
}

std::vector<Difference> NodeIndex::drift_of(const NodeRecord& node) const {
  const auto kind = software.find({node.group, node.instance_type});
  if (node.software.empty() || kind == software.end() || kind->second.all_alike()) return {};
  std::vector<Difference> found = kind->second.differences(node.software);
  std::erase_if(found, [](const Difference& one) { return one.is_split; });
  return found;
}

void NodeIndex::count(const NodeRecord& node, bool is_there) {
  if (node.left_place != 0) {
    if (is_there)
      left.emplace(node.left_place, node.id);
    else
      left.erase(node.left_place);
  }
  if (node.state == NodeState::kGone) return;
  const std::uint32_t one = is_there ? 1u : ~0u;  // counts wrap around: down by one
  const auto put = [is_there](auto& set, const auto& key) {
    if (is_there)
      set.insert(key);
    else
      set.erase(key);
  };
  Group& group = groups[node.group];
  const bool is_without = node.no_capacity && node.state == NodeState::kProvisioning;
  const bool is_away = node.is_coming() && !is_without;
  const bool is_checking = node.state == NodeState::kDeepHealthCheck;
  const bool is_healthy = node.state == NodeState::kHealthy;
  if (node.is_live()) {
    put(live, node.id);
    group.live += one;
  }
  if (is_away) provisioning += one;
  if (is_without) put(group.without_machine, node.id);
  if (is_checking) checking += one;
  if (is_away || is_checking) group.coming += one;
  if (node.state == NodeState::kCordoned) group.broken += one;
  if (node.place == 0) {
    if (is_away || is_checking) group.coming_spares += one;
    if (!is_healthy || node.job) return;
    put(idle_spares, node.id);
    put(group.idle_spares, node.id);
    return;
  }
  if (is_there)
    group.empty_places.erase(node.place);
  else
    group.empty_places.insert(node.place);
  if (node.is_live()) group.live_placed += one;
  if (is_away || is_checking) coming += one;
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
