#include "core/schedule/place.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace holdfast {
namespace {

// Which free nodes a job may have.
class Choice {
 public:
  Choice(const JobSpec& spec, const ClusterState& state, const NodeIndex& nodes)
      : state_(state), nodes_(nodes) {
    const auto& update = state.software_update;
    const bool is_mixed = update && !update->ended;
    looks_at_software_ = !spec.allow_drifted && !is_mixed && nodes.has_drift();
    if (spec.instance_group.empty()) return;
    const InstanceGroup* group = state.spec.find_group(spec.instance_group);
    group_ = group == nullptr ? 0 : group->number;  // 0: there is none such any more
  }

  [[nodiscard]] bool takes_all() const { return !group_ && !looks_at_software_; }
  [[nodiscard]] bool is_of_group(const NodeRecord& node) const {
    return !group_ || node.group == *group_;
  }
  [[nodiscard]] std::vector<Difference> drift_of(const NodeRecord& node) const {
    return looks_at_software_ ? nodes_.drift_of(node) : std::vector<Difference>();
  }
  [[nodiscard]] bool takes(const NodeRecord& node) const {
    return is_of_group(node) && drift_of(node).empty();
  }
  [[nodiscard]] std::uint32_t coming() const {
    return group_ ? nodes_.coming_to_places(*group_) : nodes_.coming_to_places();
  }

  [[nodiscard]] std::size_t count() const {
    if (takes_all()) return nodes_.free.size();
    return static_cast<std::size_t>(std::ranges::count_if(
        nodes_.free, [&](const auto& one) { return takes(state_.nodes.at(one.second)); }));
  }
  // "; n7 is not given to it: nccl 2.18, where 7 of 8 of its kind have 2.20 (...)"
  [[nodiscard]] std::string left_out() const {
    std::size_t others = 0;
    std::string text;
    for (const auto& [place, id] : nodes_.free) {
      const NodeRecord& node = state_.nodes.at(id);
      if (!is_of_group(node)) continue;
      const auto differences = drift_of(node);
      if (differences.empty()) continue;
      if (text.empty())
        text = ", " + to_string(id) + " has " + differences.front().text();
      else
        ++others;
    }
    if (others > 0) text += " (and " + std::to_string(others) + " more such nodes)";
    if (!text.empty()) text += ": see `holdfast cluster drift`, or allow_drifted in the job file";
    return text;
  }

 private:
  const ClusterState& state_;
  const NodeIndex& nodes_;
  std::optional<std::uint32_t> group_;
  bool looks_at_software_ = false;
};

std::string wait_reason(const JobSpec& spec, std::size_t enough, const Choice& choice,
                        const ClusterState& state, const NodeIndex& nodes) {
  const std::size_t free = choice.count();
  const std::uint32_t coming = choice.coming();
  std::string reason = "waits for " + std::to_string(enough - free) +
                       " more node(s): " + std::to_string(free) + " of " + std::to_string(enough) +
                       " are healthy and free";
  if (!spec.instance_group.empty()) {
    reason += " in group '" + spec.instance_group + "'";
    if (state.spec.find_group(spec.instance_group) == nullptr) reason += ", which is gone";
  }
  if (nodes.busy > 0) reason += ", " + std::to_string(nodes.busy) + " run other jobs";
  if (coming > 0) reason += ", " + std::to_string(coming) + " are being provisioned";
  if (nodes.suspect > 0)
    reason += ", " + std::to_string(nodes.suspect) + " are suspect: see `holdfast node list`";
  const std::string left_out = choice.left_out();
  reason += left_out;
  if (coming == 0 && nodes.busy == 0 && nodes.suspect == 0 && left_out.empty())
    reason += "; add one with `holdfast node add`";
  return reason;
}

}  // namespace

std::vector<NodeId> free_for(const JobSpec& spec, const ClusterState& state, const NodeIndex& nodes,
                             std::size_t limit) {
  const Choice choice(spec, state, nodes);
  std::vector<NodeId> found;
  for (const auto& [place, id] : nodes.free) {
    if (found.size() == limit) break;
    if (choice.takes_all() || choice.takes(state.nodes.at(id))) found.push_back(id);
  }
  return found;
}

Allocation allocate(const JobRecord& job, const ClusterState& state, const NodeIndex& nodes) {
  const Choice choice(job.spec, state, nodes);
  const bool first_start = !job.attempt.number;
  const std::uint32_t enough =
      first_start && choice.coming() > 0 ? job.spec.nodes_max : job.spec.nodes_min;
  if (nodes.free.size() < enough || choice.count() < enough)
    return {{}, wait_reason(job.spec, enough, choice, state, nodes)};
  return {free_for(job.spec, state, nodes, job.spec.nodes_max), ""};
}

}  // namespace holdfast
