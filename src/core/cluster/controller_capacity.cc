// A provider that has no machine to give: nothing has failed, what was wanted is still wanted.

#include <algorithm>

#include "base/digest.h"
#include "base/prng.h"
#include "core/cluster/controller.h"

namespace holdfast {

using effect::Severity;

namespace {

// From one try to the next.
constexpr Duration kAskAgainMin = seconds(30), kAskAgainMax = minutes(10);

TimerId no_capacity_timer(std::uint32_t group) {
  return {.kind = TimerKind::kNoCapacity, .attempt = Attempt{group}};
}

}  // namespace

// It stays what it is, a machine that will come: it is asked for again. Its place is anybody's.
void Controller::on(const event::CapacityMissing& missing) {
  for (const NodeId id : missing.nodes) {
    NodeRecord* node = find_node(id);
    if (node == nullptr || node->state == NodeState::kGone) continue;
    GroupRecord* group = find_group(node->group);
    if (node->state != NodeState::kProvisioning || group == nullptr) {  // not wanted by now
      lose_node(*node, missing.reason);
      continue;
    }
    const bool is_first = index_.groups[group->number].without_machine.empty();
    change(*node, [](NodeRecord& changed) { changed.no_capacity = true; });
    set_place(*node, 0);
    node->reason = std::string(kNoCapacity) + missing.reason;
    const bool is_news = group->failure != node->reason;
    group->failure = node->reason;
    if (is_first) arm_no_capacity(*group);
    if (is_first && group->tries_without_capacity == 1)
      audit(Severity::kAlert, "pool.not_refilled",
            to_string(id) + ": " + node->reason + "; it is asked for again until there is", id);
    else if (is_news)
      audit(Severity::kInfo, "node.no_capacity", to_string(id) + ": " + node->reason, id);
  }
  fill_places();
  refill_pool();
  start_queued_jobs();  // some may have waited for it
}

// Half of a time that doubles, and some of the other half: clusters that wait for the same machines
// do not ask at one moment.
void Controller::arm_no_capacity(GroupRecord& group) {
  const std::uint32_t doublings = std::min(group.tries_without_capacity++, 10u);
  const Duration most = std::min(kAskAgainMax, kAskAgainMin * (std::int64_t{1} << doublings));
  Digest digest;
  digest.add(state_.spec.id);
  Prng prng(digest.value() + group.number, static_cast<std::uint64_t>(now_.ns));
  const auto half_ms = static_cast<std::uint64_t>(most.ms()) / 2;
  const Duration pause = milliseconds(static_cast<std::int64_t>(half_ms + prng.below(half_ms + 1)));
  out_->push_back(
      effect::ArmTimer{no_capacity_timer(group.number), now_ + std::max(kAskAgainMin, pause)});
}

void Controller::ask_for_machines_again(std::uint32_t group) {
  const std::set<NodeId> waiting = index_.groups[group].without_machine;
  for (const NodeId id : waiting) {
    change(*find_node(id), [](NodeRecord& changed) { changed.no_capacity = false; });
    out_->push_back(effect::Provision{id});
  }
}

// A machine was given back, or brought: of whichever group, the provider knows whom it suits.
void Controller::capacity_is_back() {
  if (state_.down) return;
  for (const GroupRecord& group : state_.groups) ask_for_machines_again(group.number);
}

}  // namespace holdfast
