// Instance groups: what each of them should have, and how the cluster as a whole fares.

#include <algorithm>

#include "core/cluster/controller.h"
#include "core/cluster/spec_change.h"

namespace holdfast {

using effect::Severity;

namespace {

// HyperPod's: a cluster, or an update of it, that has not got its machines by then has failed.
constexpr Duration kCapacityLimit = seconds(3ll * 3600);
// Between two tries of a provider that has no machines, where they are to come when they can.
constexpr Duration kCapacityRetry = minutes(5);

// HyperPod's service model shows no end of them.
constexpr std::size_t kScalingsKept = 100;

// A timer of a group bears its number where a job's has the attempt; 0: of the whole cluster.
TimerId capacity_timer(std::uint32_t group) {
  return {.kind = TimerKind::kCapacity, .attempt = Attempt{group}};
}

}  // namespace

GroupRecord* Controller::find_group(std::uint32_t number) {
  const auto found = std::ranges::find(state_.groups, number, &GroupRecord::number);
  return found == state_.groups.end() ? nullptr : &*found;
}

const InstanceGroup* Controller::group_of(const NodeRecord& node) const {
  const auto found = std::ranges::find(state_.spec.groups, node.group, &InstanceGroup::number);
  return found == state_.spec.groups.end() ? nullptr : &*found;
}

const std::vector<CheckKind>& Controller::checks_on_start(const NodeRecord& node) const {
  const InstanceGroup* group = group_of(node);
  return group == nullptr || group->checks_on_start.empty() ? state_.spec.checks.on_start
                                                            : group->checks_on_start;
}

void Controller::make_group(InstanceGroup& group) {
  group.number = ++state_.groups_made;
  state_.groups.push_back({.number = group.number});
  index_.groups[group.number];
}

// The warm pool fills them at once as far as it goes.
void Controller::add_places(const InstanceGroup& group, std::uint32_t count) {
  const NodeIndex::Group& members = index_.groups[group.number];
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t place = ++state_.places_made;
    find_group(group.number)->places.insert(place);
    index_.add_place(place, group.number);
    if (members.idle_spares.empty())
      add_node(group.number, place);
    else
      fill_places();
  }
}

// The ones that cost least: empty ones, those whose machine is still coming, idle ones, and only
// then those with ranks; among equals the newest.
void Controller::remove_places(std::uint32_t group, std::uint32_t count, const std::string& why) {
  struct Candidate {
    int cost = 0;
    std::uint32_t place = 0;
    NodeRecord* node = nullptr;
  };
  std::vector<Candidate> candidates;
  for (const std::uint32_t place : index_.groups[group].empty_places)
    candidates.push_back({0, place});
  for (auto& [id, node] : state_.nodes)
    if (node.group == group && node.place != 0)
      candidates.push_back({node.is_coming() ? 1 : !node.job ? 2 : 3, node.place, &node});
  std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
    return std::pair(a.cost, -std::int64_t{a.place}) < std::pair(b.cost, -std::int64_t{b.place});
  });
  for (std::uint32_t i = 0; i < count && i < candidates.size(); ++i) {
    const Candidate& one = candidates[i];
    if (one.node != nullptr) set_place(*one.node, 0);
    drop_place(group, one.place);
    if (one.node != nullptr) give_back(*one.node, why);
  }
}

void Controller::drop_place(std::uint32_t group, std::uint32_t place) {
  forget_who_left(place);
  find_group(group)->places.erase(place);
  index_.remove_place(place, group);
}

// Of spares there may be more than the group wants now.
void Controller::trim_spares(std::uint32_t group, std::uint32_t wanted, const std::string& why) {
  const auto& without = index_.groups[group].without_machine;
  while (index_.groups[group].members() > wanted && !without.empty())
    give_back(*find_node(*without.rbegin()), why);
  for (auto node = state_.nodes.rbegin(); node != state_.nodes.rend(); ++node) {
    const NodeIndex::Group& members = index_.groups[group];
    if (members.members() <= wanted) return;
    const bool is_spare = node->second.place == 0 && !node->second.job &&
                          (node->second.is_live() || node->second.is_coming());
    if (node->second.group == group && is_spare) give_back(node->second, why);
  }
}

// A machine that is not wanted any more. What runs on it goes on elsewhere.
void Controller::give_back(NodeRecord& node, const std::string& why) {
  const std::string reason = to_string(node.id) + ": " + why;
  node.health.due_for.reset();
  if (node.is_live())
    return cordon_node(node, reason, {reason, node.id, std::nullopt, now_, CauseClass::kScheduling},
                       Action::kReplaceNode);
  if (node.state == NodeState::kCordoned) {  // its cure, if it was to have one, is off
    node.health.due = Action::kReplaceNode;
    if (!node.job) retire_node(node);
    return;
  }
  if (node.state == NodeState::kDeepHealthCheck) checked_node_lost(node, why, true);
  if (!node.is_coming() && node.state != NodeState::kDeepHealthCheck) return;  // it leaves already
  const bool was_awaited = node.no_capacity;
  set_node(node, NodeState::kReplacing, reason);
  out_->push_back(effect::Terminate{node.id});
  GroupRecord* group = find_group(node.group);
  if (!was_awaited || group == nullptr || !index_.groups[node.group].without_machine.empty())
    return;
  group->tries_without_capacity = 0;
  if (group->failure.starts_with(kNoCapacity)) group->failure.clear();
}

const Addition* Controller::find_addition(const std::string& token, Instant now) const {
  const auto found = state_.additions.find(token);
  return found == state_.additions.end() || now - found->second.at > kTokenLifetime
             ? nullptr
             : &found->second;
}

void Controller::on(const event::ClusterUpdateAsked& asked) {
  if (!check(asked).ok() || find_addition(asked.token, now_) != nullptr) return;
  if (changes_only_words(state_.spec, asked.spec)) {
    state_.spec.specification = asked.spec.specification;
    return audit(Severity::kInfo, "cluster.settings",
                 "cluster '" + state_.spec.name + "': tags or settings changed by " + asked.by);
  }
  const std::uint32_t places_before = state_.places_made;
  std::vector<InstanceGroup> groups = asked.spec.groups, gone = state_.spec.groups;
  for (InstanceGroup& group : groups) {
    const auto before = std::ranges::find(gone, group.name, &InstanceGroup::name);
    if (before == gone.end()) {
      make_group(group);
      continue;
    }
    group.number = before->number;
    GroupRecord& record = *find_group(group.number);
    if (group.lifecycle != before->lifecycle) record.kept_version = 0;
    if (group.schedule != before->schedule) record.next_update = {};
    gone.erase(before);
  }
  state_.spec.groups = std::move(groups);
  state_.spec.recovers_nodes = asked.spec.recovers_nodes;
  state_.spec.is_continuous = asked.spec.is_continuous;
  state_.spec.specification = asked.spec.specification;
  state_.failure.clear();
  set_phase(ClusterPhase::kUpdating, "asked for by " + asked.by);
  // First what is added, so that nothing that leaves is made up for twice.
  for (const InstanceGroup& group : state_.spec.groups) {
    GroupRecord& record = *find_group(group.number);
    record.provisioning_failures = 0;
    record.tries_without_capacity = 0;
    record.failure.clear();
    ask_for_machines_again(group.number);
    const auto places = static_cast<std::uint32_t>(record.places.size());
    if (places < group.count) add_places(group, group.count - places);
  }
  if (!asked.token.empty()) {
    std::erase_if(state_.additions,
                  [this](const auto& entry) { return now_ - entry.second.at > kTokenLifetime; });
    Addition addition{asked.request, now_, {}};
    for (std::uint32_t place = places_before + 1; place <= state_.places_made; ++place)
      addition.places.push_back(place);
    state_.additions[asked.token] = std::move(addition);
  }
  for (const InstanceGroup& group : gone) {
    const std::string why = "its group '" + group.name + "' was removed by " + asked.by;
    remove_places(group.number, ~0u, why);
    trim_spares(group.number, 0, why);
    std::erase_if(state_.groups, [&](const GroupRecord& r) { return r.number == group.number; });
  }
  for (const InstanceGroup& group : state_.spec.groups) {
    const auto places = static_cast<std::uint32_t>(find_group(group.number)->places.size());
    const std::string why = "group '" + group.name + "' was made smaller by " + asked.by;
    if (places > group.count) remove_places(group.number, places - group.count, why);
    trim_spares(group.number, group.count + group.spares, why);
  }
  audit(Severity::kInfo, "cluster.updated",
        "cluster '" + state_.spec.name + "': " + std::to_string(state_.spec.nodes()) + " nodes, " +
            std::to_string(state_.spec.spares()) + " spares, by " + asked.by);
  refill_pool();
  arm_capacity_limit();
  begin_scaling();
  start_queued_jobs();
}

void Controller::begin_scaling() {
  auto& scalings = state_.scalings;
  if (!scalings.empty() && scalings.back().state == ScalingState::kInProgress)
    scalings.back().state = ScalingState::kSuperseded;
  Scaling scaling{.number = ++state_.scalings_made, .asked = now_};
  for (const InstanceGroup& group : state_.spec.groups)
    scaling.targets.push_back({group.name, group.count, group.count_min});
  if (scalings.size() >= kScalingsKept) scalings.erase(scalings.begin());
  scalings.push_back(std::move(scaling));
}

// The one that it fills, or that is empty because it has left it. One that has left none, or whose
// place a spare has taken, was to fill one that is empty, unless all of those wait for others.
std::uint32_t Controller::place_to_drop(const NodeRecord& node, const InstanceGroup& group) const {
  if (node.place != 0) return node.place;
  if (node.left_place != 0) return node.left_place;
  if (node.state == NodeState::kReplacing || node.state == NodeState::kGone) return 0;
  const auto& empty = index_.groups.at(group.number).empty_places;
  const auto is_nobodys = [this](std::uint32_t place) {
    const auto who = index_.left.find(place);
    const NodeRecord* left_by = who == index_.left.end() ? nullptr : this->node(who->second);
    return left_by == nullptr || left_by->state == NodeState::kReplacing ||
           left_by->state == NodeState::kGone;
  };
  const auto found = std::find_if(empty.rbegin(), empty.rend(), is_nobodys);
  if (found != empty.rend()) return *found;
  return empty.empty() || group.spares > 0 ? 0 : *empty.rbegin();
}

void Controller::on(const event::NodesRemoveAsked& asked) {
  for (const NodeId id : asked.nodes) {
    NodeRecord* node = find_node(id);
    if (node == nullptr) continue;
    const auto group = std::ranges::find(state_.spec.groups, node->group, &InstanceGroup::number);
    if (group == state_.spec.groups.end()) continue;
    const bool is_leaving = node->state == NodeState::kReplacing || node->state == NodeState::kGone;
    const std::uint32_t place = place_to_drop(*node, *group);
    if (is_leaving && place == 0) continue;
    if (place != 0) {
      set_place(*node, 0);
      drop_place(group->number, place);
      --group->count;
      group->count_min = std::min(group->count_min, group->count);
    } else if (group->spares > 0) {
      --group->spares;
    }
    audit(Severity::kInfo, "node.removed",
          to_string(id) + " is given back, asked for by " + asked.by, id, node->job);
    const std::string why = "removal asked for by " + asked.by;
    if (is_leaving)
      trim_spares(group->number, group->count + group->spares, why);  // what comes for its place
    else
      give_back(*node, why);
  }
  refill_pool();
  start_queued_jobs();
}

// --- how the cluster fares

void Controller::provisioning_failed(const NodeRecord& node, const std::string& reason) {
  GroupRecord* group = find_group(node.group);
  if (group == nullptr) return;
  ++group->provisioning_failures;
  group->failure = to_string(node.id) + ": " + reason;
}

void Controller::provisioning_worked(const NodeRecord& node) {
  GroupRecord* group = find_group(node.group);
  if (group == nullptr) return;
  group->provisioning_failures = 0;
  if (!index_.groups[node.group].without_machine.empty()) return;  // still short of others
  group->tries_without_capacity = 0;
  group->failure.clear();
}

void Controller::arm_capacity_limit() {
  out_->push_back(effect::ArmTimer{capacity_timer(0), now_ + kCapacityLimit});
}

void Controller::arm_capacity_retry(std::uint32_t group) {
  out_->push_back(effect::ArmTimer{capacity_timer(group), now_ + kCapacityRetry});
}

void Controller::on_capacity_timer(const TimerId& timer) {
  if (timer.kind == TimerKind::kNoCapacity) return ask_for_machines_again(timer.attempt.value);
  if (GroupRecord* group = find_group(timer.attempt.value)) {
    group->provisioning_failures =
        std::min(group->provisioning_failures, kProvisioningFailuresMax - 1);
    refill_pool();
    return;
  }
  if (timer.attempt.value != 0) return;
  if (state_.phase == ClusterPhase::kCreating || state_.phase == ClusterPhase::kUpdating)
    give_up_phase("the machines did not come within 3 hours");
}

// After a restart of the control plane.
void Controller::resume_groups() {
  if (state_.phase == ClusterPhase::kCreating || state_.phase == ClusterPhase::kUpdating)
    arm_capacity_limit();
  if (state_.software_update && state_.software_update->is_under_way()) update_soon(now_);
  if (state_.spec.is_continuous)
    for (const GroupRecord& group : state_.groups)
      if (group.provisioning_failures >= kProvisioningFailuresMax) arm_capacity_retry(group.number);
}

void Controller::set_phase(ClusterPhase to, const std::string& why) {
  if (state_.phase == to) return;
  state_.phase = to;
  if (to != ClusterPhase::kCreating && to != ClusterPhase::kUpdating && !state_.scalings.empty() &&
      state_.scalings.back().state == ScalingState::kInProgress)
    state_.scalings.back().state = ScalingState::kDone;
  const bool is_bad = to == ClusterPhase::kFailed;
  audit(is_bad ? Severity::kAlert : Severity::kInfo, "cluster.phase",
        "cluster '" + state_.spec.name + "' is " + std::string(word_of(to)) + ": " + why);
}

// A new cluster has failed then; one that was in service before still is, with what it has.
void Controller::give_up_phase(const std::string& why) {
  state_.failure = why;
  for (const InstanceGroup& group : state_.spec.groups)
    if (const GroupRecord* record = find_group(group.number); !record->failure.empty())
      state_.failure += "; group '" + group.name + "': " + record->failure;
  if (state_.phase == ClusterPhase::kCreating)
    set_phase(ClusterPhase::kFailed, state_.failure);
  else
    set_phase(ClusterPhase::kInService,
              "the update has not got all it asked for: " + state_.failure);
}

// After every step: O(groups).
void Controller::settle_phase() {
  const bool fails = state_.phase == ClusterPhase::kFailed;
  if (state_.phase != ClusterPhase::kCreating && state_.phase != ClusterPhase::kUpdating && !fails)
    return;
  bool is_stuck = false;
  std::string why;
  for (const InstanceGroup& group : state_.spec.groups) {
    std::uint32_t needed = group.count_min > 0 ? group.count_min : group.count;
    if (state_.spec.is_continuous) needed = std::min(group.count, std::max(1u, group.count_min));
    const NodeIndex::Group& members = index_.groups[group.number];
    if (members.live_placed >= needed) continue;
    const bool has_failed =
        find_group(group.number)->provisioning_failures >= kProvisioningFailuresMax;
    const bool may_get_enough =
        members.without_machine.empty() ||
        members.live_placed + index_.coming_to_places(group.number) >= needed;
    if (!has_failed && may_get_enough) return;
    is_stuck = true;
    why = has_failed ? "machines fail before they join" : "the provider has no more machines";
  }
  if (!is_stuck)
    set_phase(ClusterPhase::kInService, "its groups have their nodes");
  else if (!fails && !state_.spec.is_continuous)
    give_up_phase(why);
}

}  // namespace holdfast
