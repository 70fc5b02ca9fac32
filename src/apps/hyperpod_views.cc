#include "apps/hyperpod_views.h"

#include <algorithm>
#include <set>

#include <spdlog/spdlog.h>

#include "io/clock.h"

namespace holdfast {

using hyperpod::ClusterStatus;
using hyperpod::EventLevel;
using hyperpod::EventResource;
using hyperpod::GroupStatus;
using hyperpod::InstanceStatus;
using hyperpod::OperationStatus;
using hyperpod::OperationType;
using hyperpod::UpdateStatus;

namespace {

constexpr std::uint64_t kEventsShown = 500;  // as many as HyperPod keeps
constexpr std::size_t kNotesRead = 2000;     // of which some are about jobs

// From the cluster's own time line to the wall's.
struct Timeline {
  explicit Timeline(const ControlLoop& loop) : wall_ns(wall_now().ns), now(loop.now()) {}
  [[nodiscard]] WallTime wall_of(Instant at) const { return WallTime{wall_ns - (now - at).ns}; }

  std::int64_t wall_ns;
  Instant now;
};

ClusterStatus status_of(ClusterPhase phase) {
  switch (phase) {
    case ClusterPhase::kCreating:
      return ClusterStatus::kCreating;
    case ClusterPhase::kInService:
      return ClusterStatus::kInService;
    case ClusterPhase::kUpdating:
      return ClusterStatus::kUpdating;
    case ClusterPhase::kSystemUpdating:
      return ClusterStatus::kSystemUpdating;
    case ClusterPhase::kFailed:
      return ClusterStatus::kFailed;
    case ClusterPhase::kDeleting:
      return ClusterStatus::kDeleting;
  }
  return ClusterStatus::kFailed;
}

UpdateStatus status_of(SoftwareUpdateState update) {
  switch (update) {
    case SoftwareUpdateState::kInProgress:
      return UpdateStatus::kInProgress;
    case SoftwareUpdateState::kSucceeded:
      return UpdateStatus::kSucceeded;
    case SoftwareUpdateState::kFailed:
      return UpdateStatus::kFailed;
    case SoftwareUpdateState::kRollingBack:
      return UpdateStatus::kRollbackInProgress;
    case SoftwareUpdateState::kRolledBack:
      return UpdateStatus::kRollbackComplete;
  }
  return UpdateStatus::kFailed;
}

bool is_of(const std::optional<SoftwareUpdate>& update, const InstanceGroup& group) {
  return update && std::ranges::find(update->groups, group.number) != update->groups.end();
}

GroupStatus status_of(const InstanceGroup& group, std::uint32_t current,
                      const ClusterState& state) {
  const bool is_full = current >= group.count;
  switch (state.phase) {
    case ClusterPhase::kCreating:
      return is_full ? GroupStatus::kInService : GroupStatus::kCreating;
    case ClusterPhase::kUpdating:
      return is_full ? GroupStatus::kInService : GroupStatus::kUpdating;
    case ClusterPhase::kFailed:
      return is_full ? GroupStatus::kInService : GroupStatus::kFailed;
    case ClusterPhase::kDeleting:
      return GroupStatus::kDeleting;
    case ClusterPhase::kSystemUpdating:
      return is_of(state.software_update, group) ? GroupStatus::kSystemUpdating
                                                 : GroupStatus::kInService;
    case ClusterPhase::kInService:
      break;
  }
  return is_full ? GroupStatus::kInService : GroupStatus::kDegraded;
}

InstanceStatus status_of(const NodeRecord& node) {
  if (node.lifecycle.status == LifecycleStatus::kFailed) return InstanceStatus::kFailure;
  if (node.updating && node.state != NodeState::kReplacing) return InstanceStatus::kSystemUpdating;
  switch (node.state) {
    case NodeState::kProvisioning:
    case NodeState::kLifecycleScript:
    case NodeState::kResetting:
    case NodeState::kRebooting:
      return InstanceStatus::kPending;
    case NodeState::kDeepHealthCheck:
      return InstanceStatus::kDeepHealthCheckInProgress;
    case NodeState::kHealthy:
    case NodeState::kSuspect:
      return InstanceStatus::kRunning;
    case NodeState::kCordoned:
      return InstanceStatus::kFailure;
    case NodeState::kReplacing:
    case NodeState::kGone:
      break;
  }
  return InstanceStatus::kShuttingDown;
}

const InstanceGroup* group_of(const NodeRecord& node, const ClusterState& state) {
  const auto found = std::ranges::find(state.spec.groups, node.group, &InstanceGroup::number);
  return found == state.spec.groups.end() ? nullptr : &*found;
}

EventLevel level_of(const std::string& severity) {
  if (severity == word_of(effect::Severity::kAlert)) return EventLevel::kError;
  return severity == word_of(effect::Severity::kWarning) ? EventLevel::kWarn : EventLevel::kInfo;
}

// What is about a job alone is none of HyperPod's events.
bool is_about_the_cluster(const Journal::Note& note) {
  if (note.node != 0) return true;
  return std::ranges::any_of(
      std::to_array<std::string_view>(
          {"cluster.", "pool.", "update.", "breaker.", "governance.", "server.", "check."}),
      [&](std::string_view prefix) { return note.kind.starts_with(prefix); });
}

// Of one that is away: the place that it has left, while nobody else fills it.
std::uint32_t place_of(const NodeRecord& node) {
  return node.place != 0 ? node.place : node.left_place;
}

hyperpod::NodeView view_of(const NodeRecord& node, const ClusterState& state,
                           const Timeline& timeline) {
  hyperpod::NodeView view{.instance_id = hyperpod::instance_id(state.spec.id, node.id),
                          .status = status_of(node),
                          .message = node.reason,
                          .instance_type = node.instance_type,
                          .launched = timeline.wall_of(node.made),
                          .address = node.address};
  if (!node.lifecycle.failure.empty()) view.message += ": " + node.lifecycle.failure;
  const InstanceGroup* group = group_of(node, state);
  if (group == nullptr) return view;
  view.group = group->name;
  if (view.instance_type.empty() && !group->instance_types.empty())
    view.instance_type = group->instance_types.front();
  if (const std::uint32_t place = place_of(node); place != 0)
    view.logical_id = hyperpod::logical_id({group->name, place});
  return view;
}

std::vector<std::pair<std::uint64_t, Journal::Note>> recent_notes(ClusterServer& cluster) {
  const Result<std::uint64_t> last = cluster.journal().last_note_id();
  if (!last.ok()) return {};
  auto notes = cluster.journal().notes(*last > kNotesRead ? *last - kNotesRead : 0, kNotesRead);
  return notes.ok() ? std::move(notes).value()
                    : std::vector<std::pair<std::uint64_t, Journal::Note>>{};
}

hyperpod::OperationView view_scaling(const Scaling& scaling, const ClusterState& state,
                                     const Timeline& timeline) {
  hyperpod::OperationView view{
      .id = hyperpod::event_id(state.spec.id + "/scaling", scaling.number),
      .type = OperationType::kScaling,
      .status = scaling.state == ScalingState::kInProgress   ? OperationStatus::kInProgress
                : scaling.state == ScalingState::kSuperseded ? OperationStatus::kSuperseded
                                                             : OperationStatus::kDone,
      .created = timeline.wall_of(scaling.asked)};
  for (const ScalingTarget& target : scaling.targets)
    view.wanted.push_back(
        {.name = target.group, .count = target.count, .count_min = target.count_min});
  return view;
}

hyperpod::OperationView view_checks(const CheckRun& run, const ClusterState& state,
                                    const Timeline& timeline) {
  hyperpod::OperationView view{.id = hyperpod::event_id(state.spec.id + "/check", run.id.value),
                               .type = OperationType::kDeepHealthCheck,
                               .status = run.state == CheckRunState::kEnded
                                             ? OperationStatus::kDone
                                             : OperationStatus::kInProgress,
                               .created = timeline.wall_of(run.asked)};
  for (const CheckMember& member : run.members) {
    const auto node = state.nodes.find(member.node);
    const InstanceGroup* group =
        node == state.nodes.end() ? nullptr : group_of(node->second, state);
    if (member.is_partner || group == nullptr) continue;
    auto checked =
        std::ranges::find(view.checked, group->name, &hyperpod::OperationView::Checked::group);
    if (checked == view.checked.end())
      checked = view.checked.insert(view.checked.end(), {group->name, {}, run.kinds});
    checked->instance_ids.push_back(hyperpod::instance_id(state.spec.id, member.node));
  }
  return view;
}

}  // namespace

hyperpod::ClusterView view_cluster(const ControlLoop& loop, const hyperpod::Site& site) {
  const ClusterState& state = loop.controller().state();
  hyperpod::ClusterView view{.name = state.spec.name,
                             .arn = hyperpod::cluster_arn(site, state.spec.id),
                             .status = status_of(state.phase),
                             .created = state.spec.created,
                             .failure_message = state.failure,
                             .recovers_nodes = state.spec.recovers_nodes,
                             .is_continuous = state.spec.is_continuous,
                             .specification = state.spec.specification};
  const auto& index = loop.controller().nodes().groups;
  for (const InstanceGroup& group : state.spec.groups) {
    const auto members = index.find(group.number);
    const std::uint32_t current = members == index.end() ? 0 : members->second.live_placed;
    hyperpod::GroupView shown{group, current, status_of(group, current, state), {}, {}};
    if (const auto& update = state.software_update; is_of(update, group)) {
      shown.update = status_of(update->state);
      if (update->is_under_way()) shown.update_config = update->deployment;
    }
    view.groups.push_back(std::move(shown));
    const auto record = std::ranges::find(state.groups, group.number, &GroupRecord::number);
    if (view.failure_message.empty() && record != state.groups.end() && !record->failure.empty())
      view.failure_message = "group '" + group.name + "': " + record->failure;
  }
  return view;
}

hyperpod::NodeView view_node(const NodeRecord& node, const ControlLoop& loop) {
  return view_of(node, loop.controller().state(), Timeline(loop));
}

hyperpod::NodeView view_whole_node(const NodeRecord& node, const ControlLoop& loop) {
  hyperpod::NodeView view = view_node(node, loop);
  if (const InstanceGroup* group = group_of(node, loop.controller().state()))
    view.group_specification = group->specification;
  return view;
}

hyperpod::NodeWalk walk_nodes(const ControlLoop& loop, bool is_descending) {
  const ClusterState& state = loop.controller().state();
  const Timeline timeline(loop);
  const auto key_of = [timeline, &state](const NodeRecord& node) {
    const InstanceGroup* group = group_of(node, state);
    return hyperpod::NodeKey{node.id, group == nullptr ? std::string_view() : group->name,
                             timeline.wall_of(node.made)};
  };
  const auto is_shown = [&state](const NodeRecord& node) {
    return node.state != NodeState::kGone && group_of(node, state) != nullptr;
  };
  hyperpod::NodeWalk walk;
  walk.next = [&state, key_of, is_shown,
               is_descending](NodeId after) -> std::optional<hyperpod::NodeKey> {
    if (is_descending) {
      auto at = after ? state.nodes.lower_bound(after) : state.nodes.end();
      while (at != state.nodes.begin())
        if (--at; is_shown(at->second)) return key_of(at->second);
      return std::nullopt;
    }
    for (auto at = state.nodes.upper_bound(after); at != state.nodes.end(); ++at)
      if (is_shown(at->second)) return key_of(at->second);
    return std::nullopt;
  };
  walk.view = [&state, timeline](NodeId id) {
    return view_of(state.nodes.at(id), state, timeline);
  };
  return walk;
}

const NodeRecord* find_instance(const ClusterState& state, const std::string& id) {
  const auto found = state.nodes.find(hyperpod::read_instance_id(state.spec.id, id));
  const bool is_there = found != state.nodes.end() && found->second.state != NodeState::kGone &&
                        group_of(found->second, state) != nullptr;
  return is_there ? &found->second : nullptr;
}

const NodeRecord* find_logical(const ClusterState& state, const std::string& id) {
  const auto logical = hyperpod::read_logical_id(id);
  const InstanceGroup* group = logical ? state.spec.find_group(logical->group) : nullptr;
  if (group == nullptr || logical->place == 0) return nullptr;
  for (const auto& [node_id, node] : state.nodes)
    if (node.group == group->number && place_of(node) == logical->place) return &node;
  return nullptr;
}

std::vector<hyperpod::EventView> recent_events(ClusterServer& cluster) {
  const auto notes = recent_notes(cluster);
  return cluster.call([&] {
    const ClusterState& state = cluster.loop().controller().state();
    std::vector<hyperpod::EventView> events;
    for (const auto& [sequence, note] : notes) {
      if (!is_about_the_cluster(note)) continue;
      hyperpod::EventView event{.sequence = sequence,
                                .id = hyperpod::event_id(state.spec.id, sequence),
                                .time = note.wall,
                                .level = level_of(note.severity),
                                .description = note.text};
      if (event.level == EventLevel::kError) event.failure_message = note.text;
      const auto node = state.nodes.find(NodeId{note.node});
      if (node != state.nodes.end()) {
        event.resource = EventResource::kInstance;
        event.instance_id = hyperpod::instance_id(state.spec.id, node->first);
        if (const InstanceGroup* group = group_of(node->second, state)) {
          event.group = group->name;
          if (const std::uint32_t place = place_of(node->second); place != 0)
            event.logical_id = hyperpod::logical_id({group->name, place});
        }
      }
      events.push_back(std::move(event));
    }
    if (events.size() > kEventsShown)
      events.erase(events.begin(), events.end() - static_cast<std::ptrdiff_t>(kEventsShown));
    return events;
  });
}

std::vector<hyperpod::OperationView> recent_operations(ClusterServer& cluster) {
  return cluster.call([&] {
    const ClusterState& state = cluster.loop().controller().state();
    std::vector<hyperpod::OperationView> operations;
    const Timeline timeline(cluster.loop());
    for (const Scaling& scaling : state.scalings)
      operations.push_back(view_scaling(scaling, state, timeline));
    for (const auto& [id, run] : state.checks)
      operations.push_back(view_checks(run, state, timeline));
    return operations;
  });
}

hyperpod::NextEvent walk_events(const std::vector<hyperpod::EventView>& events,
                                bool is_descending) {
  return [&events, is_descending](std::uint64_t after) -> std::optional<hyperpod::EventView> {
    if (is_descending) {
      auto at = after == 0
                    ? events.end()
                    : std::ranges::lower_bound(events, after, {}, &hyperpod::EventView::sequence);
      return at == events.begin() ? std::nullopt : std::optional(*--at);
    }
    const auto at = std::ranges::upper_bound(events, after, {}, &hyperpod::EventView::sequence);
    return at == events.end() ? std::nullopt : std::optional(*at);
  };
}

}  // namespace holdfast
