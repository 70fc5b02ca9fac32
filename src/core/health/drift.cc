#include "core/health/drift.h"

namespace holdfast {

std::string Difference::text() const {
  const auto shown = [](const std::string& version) { return version.empty() ? "none" : version; };
  return what + " " + shown(has) + ", where " + std::to_string(alike) + " of " +
         std::to_string(of) + " of its kind have " + shown(others);
}

bool SoftwareCounts::is_alike(const Versions& versions) const {
  return versions.size() == 1 && versions.begin()->second == nodes_;
}

void SoftwareCounts::count(const Software& software, std::uint32_t one) {
  nodes_ += one;  // counts wrap around: down by one
  for (const auto& [what, version] : software) {
    Versions& versions = versions_[what];
    if ((versions[version] += one) == 0) versions.erase(version);
    if (versions.empty()) versions_.erase(what);
  }
  unlike_ = 0;
  for (const auto& [what, versions] : versions_) unlike_ += is_alike(versions) ? 0 : 1;
}

std::vector<Difference> SoftwareCounts::differences(const Software& software) const {
  std::vector<Difference> found;
  for (const auto& [what, versions] : versions_) {
    if (is_alike(versions)) continue;
    std::uint32_t without = nodes_;
    for (const auto& [version, times] : versions) without -= times;
    Difference one{.what = what, .alike = without, .of = nodes_};
    for (const auto& [version, times] : versions) {
      if (times < one.alike) continue;
      one.others = version;
      one.alike = times;
    }
    const auto mine = software.find(what);
    if (mine != software.end()) one.has = mine->second;
    one.is_split = one.alike * 2 <= nodes_;
    if (one.has != one.others) found.push_back(std::move(one));
  }
  return found;
}

std::vector<Drift> find_drift(const std::vector<Fingerprint>& nodes) {
  std::map<std::string, std::map<NodeId, const Software*>> groups;
  for (const Fingerprint& node : nodes) groups[node.group][node.node] = &node.software;
  std::vector<Drift> found;
  for (const auto& [group, members] : groups) {
    SoftwareCounts counts;
    for (const auto& [id, software] : members) counts.add(*software);
    for (const auto& [id, software] : members)
      for (Difference& difference : counts.differences(*software))
        found.push_back({id, group, std::move(difference)});
  }
  return found;
}

}  // namespace holdfast
