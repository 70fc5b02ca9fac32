#include "core/health/drift.h"

#include <set>

namespace holdfast {
namespace {

std::string version_of(const Fingerprint& node, const std::string& what) {
  const auto found = node.software.find(what);
  return found == node.software.end() ? std::string() : found->second;
}

}  // namespace

std::vector<Drift> find_drift(const std::vector<Fingerprint>& nodes) {
  std::map<std::string, std::map<NodeId, const Fingerprint*>> groups;
  for (const Fingerprint& node : nodes) groups[node.group][node.node] = &node;
  std::vector<Drift> found;
  for (const auto& [group, members] : groups) {
    std::set<std::string> names;
    for (const auto& [id, node] : members)
      for (const auto& [what, version] : node->software) names.insert(what);
    const auto of = static_cast<std::uint32_t>(members.size());
    for (const std::string& what : names) {
      std::map<std::string, std::uint32_t> counts;
      for (const auto& [id, node] : members) ++counts[version_of(*node, what)];
      auto most = counts.begin();
      for (auto count = counts.begin(); count != counts.end(); ++count)
        if (count->second >= most->second) most = count;
      for (const auto& [id, node] : members) {
        const std::string has = version_of(*node, what);
        if (has == most->first) continue;
        found.push_back({.node = id,
                         .group = group,
                         .what = what,
                         .has = has,
                         .others = most->first,
                         .is_split = most->second * 2 <= of,
                         .alike = most->second,
                         .of = of});
      }
    }
  }
  return found;
}

}  // namespace holdfast
