#include "model/cluster.h"

#include <algorithm>

namespace holdfast {

std::vector<InstanceGroup> one_group(std::uint32_t count, std::uint32_t spares) {
  return {{.name = "workers", .count = count, .spares = spares}};
}

std::uint32_t ClusterSpec::nodes() const {
  std::uint32_t sum = 0;
  for (const InstanceGroup& group : groups) sum += group.count;
  return sum;
}

std::uint32_t ClusterSpec::spares() const {
  std::uint32_t sum = 0;
  for (const InstanceGroup& group : groups) sum += group.spares;
  return sum;
}

const InstanceGroup* ClusterSpec::find_group(std::string_view group) const {
  const auto found = std::ranges::find(groups, group, &InstanceGroup::name);
  return found == groups.end() ? nullptr : &*found;
}

const InstanceGroup* ClusterSpec::find_group(std::uint32_t number) const {
  const auto found = std::ranges::find(groups, number, &InstanceGroup::number);
  return found == groups.end() ? nullptr : &*found;
}

}  // namespace holdfast
