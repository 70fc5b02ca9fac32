// Lifecycle scripts: the user's programs that make a fresh machine a node of its group. They run
// once per machine, after it has come and before its deep checks; not after a reboot.
//
// The node tries a few times. When all tries fail, the machine is replaced once: it may have been
// the machine's fault. When they fail on the second machine too it is the scripts' fault: the node
// stays as it is, for a person to look at, holds its place, and is replaced when a person says so.
// So scripts that can never succeed cost two machines per place, not one after the other for ever.
//
// The files are kept by their content, so that an update can be taken back: a group has a record of
// which version each of its nodes was given last. See controller_update.cc.

#include <algorithm>

#include "core/cluster/controller.h"

namespace holdfast {

using effect::Severity;

namespace {

constexpr Duration kTryMax = minutes(30);
constexpr std::uint32_t kTriesMax = 3;
// All tries and the pauses between them, with the time to get the files: the node ends them itself.
constexpr Duration kRunMax = minutes(100);
// A script that kills its own agent, or its machine, does it each time.
constexpr std::uint32_t kCutOffsMax = 3;
constexpr std::size_t kReasonKept = 512, kLogKept = 4096;
constexpr std::string_view kNoFiles = "lifecycle scripts cannot be read: ";

auto find_version(auto& group, std::uint32_t number) {
  return std::ranges::find(group.versions, number, &LifecycleVersion::number);
}

}  // namespace

const LifecycleScripts* Controller::scripts_of(const NodeRecord& node) const {
  const InstanceGroup* group = group_of(node);
  if (group == nullptr) return nullptr;
  const LifecycleVersion* kept = kept_version(node);
  const LifecycleScripts& scripts = kept == nullptr ? group->lifecycle : kept->scripts;
  return scripts.on_create.empty() && scripts.on_init_complete.empty() ? nullptr : &scripts;
}

const LifecycleVersion* Controller::kept_version(const NodeRecord& node) const {
  const auto group = std::ranges::find(state_.groups, node.group, &GroupRecord::number);
  if (group == state_.groups.end()) return nullptr;
  const auto kept = find_version(*group, group->kept_version);
  return kept == group->versions.end() ? nullptr : &*kept;
}

// 0: it has been given none.
std::uint32_t Controller::version_of(const NodeRecord& node) {
  const GroupRecord* group = find_group(node.group);
  if (group == nullptr) return 0;
  const auto has_it = [&](const LifecycleVersion& v) { return v.nodes.contains(node.id); };
  const auto found = std::ranges::find_if(group->versions, has_it);
  return found == group->versions.end() ? 0 : found->number;
}

// What most of its working nodes have, the newest of equals.
std::uint32_t Controller::usual_version(const GroupRecord& group) {
  if (group.kept_version != 0) return group.kept_version;
  std::uint32_t usual = 0;
  std::size_t most = 0;
  for (const LifecycleVersion& version : group.versions) {
    const auto count = static_cast<std::size_t>(std::ranges::count_if(
        version.nodes, [this](NodeId id) { return node(id) != nullptr && node(id)->is_live(); }));
    if (count == 0 || count < most) continue;
    most = count;
    usual = version.number;
  }
  return usual;
}

void Controller::on(const event::LifecycleFilesRead& read) {
  NodeRecord* node = find_node(read.node);
  if (node == nullptr || node->state != NodeState::kLifecycleScript ||
      node->lifecycle.status != LifecycleStatus::kInProgress || node->lifecycle.run != read.run)
    return;
  const LifecycleScripts* scripts = scripts_of(*node);
  GroupRecord* group = find_group(node->group);
  if (scripts == nullptr || group == nullptr) return;
  if (read.files.empty()) {  // the node asks again, until its time is up
    const std::string failure = std::string(kNoFiles) + read.error.substr(0, kReasonKept);
    if (group->failure == failure) return;
    group->failure = failure;
    return audit(Severity::kWarning, "node.lifecycle_waits",
                 to_string(node->id) + ": " + failure + "; they are tried again", node->id);
  }
  if (group->failure.starts_with(kNoFiles)) group->failure.clear();
  for (LifecycleVersion& version : group->versions) version.nodes.erase(node->id);
  auto version = std::ranges::find_if(group->versions, [&](const LifecycleVersion& one) {
    return one.files == read.files && one.scripts == *scripts;
  });
  if (version == group->versions.end())
    version = group->versions.insert(version, {++group->versions_made, read.files, *scripts, {}});
  version->nodes.insert(node->id);
  forget_versions(*group);
}

// Those that no node has, and none will be given again.
void Controller::forget_versions(GroupRecord& group) {
  const bool is_updated = state_.software_update && state_.software_update->is_under_way();
  std::erase_if(group.versions, [&](const LifecycleVersion& version) {
    return version.nodes.empty() && version.number != group.kept_version &&
           !(is_updated && version.number == group.former_version);
  });
}

void Controller::forget_version_of(const NodeRecord& node) {
  GroupRecord* group = find_group(node.group);
  if (group == nullptr) return;
  for (LifecycleVersion& version : group->versions) version.nodes.erase(node.id);
  forget_versions(*group);
}

void Controller::welcome_machine(NodeRecord& node) {
  if (const LifecycleScripts* scripts = scripts_of(node)) return begin_lifecycle(node, *scripts);
  admit(node, checks_on_start(node), "start", "joined");
}

void Controller::begin_lifecycle(NodeRecord& node, const LifecycleScripts& scripts) {
  ++node.lifecycle.run;
  node.lifecycle.status = LifecycleStatus::kInProgress;
  node.lifecycle.cut_offs = 0;
  node.lifecycle.failure.clear();
  set_node(node, NodeState::kLifecycleScript, "lifecycle scripts of " + scripts.source);
  resend_lifecycle(node, 0);
}

// Also after a restart of the control plane, and when the node connects anew. `cut_off`: the run
// that its agent died in.
void Controller::resend_lifecycle(NodeRecord& node, std::uint32_t cut_off) {
  NodeLifecycle& lifecycle = node.lifecycle;
  if (lifecycle.status != LifecycleStatus::kInProgress) return;  // it waits for a person
  const LifecycleScripts* scripts = scripts_of(node);
  if (scripts == nullptr) return admit(node, checks_on_start(node), "start", "joined");
  if (cut_off == lifecycle.run) {
    ++lifecycle.cut_offs;
    audit(Severity::kWarning, "node.lifecycle_cut_off",
          to_string(node.id) + ": its agent died while the lifecycle scripts ran; they run again",
          node.id);
    if (lifecycle.cut_offs >= kCutOffsMax)
      return fail_lifecycle(
          node, "the agent died " + std::to_string(kCutOffsMax) + " times while they ran", "");
  }
  send(node.id, server_message::RunLifecycle{.run = lifecycle.run,
                                             .on_create = scripts->on_create,
                                             .on_init_complete = scripts->on_init_complete,
                                             .try_max = kTryMax,
                                             .tries_max = kTriesMax});
  const Duration left = std::max(Duration{}, node.since + kRunMax - now_);
  out_->push_back(effect::ArmTimer{
      {.kind = TimerKind::kLifecycle, .attempt = Attempt{lifecycle.run}, .node = node.id},
      now_ + left});
}

void Controller::on_lifecycle_late(const TimerId& timer) {
  NodeRecord* node = find_node(timer.node);
  if (node == nullptr || node->state != NodeState::kLifecycleScript ||
      node->lifecycle.status != LifecycleStatus::kInProgress ||
      timer.attempt.value != node->lifecycle.run)
    return;
  fail_lifecycle(*node, "they have not ended in time", "");
}

void Controller::on(const event::LifecycleReported& reported) {
  NodeRecord* node = find_node(reported.node);
  const agent_message::LifecycleReported& report = reported.report;
  if (node == nullptr || node->state != NodeState::kLifecycleScript ||
      node->lifecycle.status != LifecycleStatus::kInProgress || report.run != node->lifecycle.run)
    return;
  if (!report.ok)
    return fail_lifecycle(
        *node,
        report.reason.substr(0, kReasonKept) + " (" + std::to_string(report.tries) + " tries)",
        report.log_tail);
  node->lifecycle.status = LifecycleStatus::kSucceeded;
  node->lifecycle.is_second_machine = false;
  audit(Severity::kInfo, "node.lifecycle_done",
        to_string(node->id) + ": its lifecycle scripts have succeeded", node->id);
  admit(*node, checks_on_start(*node), "start", "its lifecycle scripts have succeeded");
  if (node->state == NodeState::kHealthy && node->health.due != Action::kNone) {
    const std::string found = to_string(node->id) + ": " + node->health.due_for->kind +
                              " while its lifecycle scripts ran";
    cordon_node(*node, found, {found, node->id, std::nullopt, now_}, node->health.due);
  }
  hold_back(*node);
  fill_places();
  refill_pool();
  start_queued_jobs();
  warm_up(*node);
}

void Controller::fail_lifecycle(NodeRecord& node, const std::string& why,
                                const std::string& log_tail) {
  const std::string reason = "its lifecycle scripts have failed: " + why;
  const std::size_t kept = std::min(log_tail.size(), kLogKept);
  node.lifecycle.status = LifecycleStatus::kFailed;
  node.lifecycle.failure = why + "\n" + log_tail.substr(log_tail.size() - kept);
  if (goes_back(node)) {  // rather the new scripts' fault than the machine's
    node.reason = reason;
    audit(Severity::kWarning, "node.lifecycle_failed",
          to_string(node.id) + ": " + reason + "; it gets the former ones again: " + log_tail,
          node.id);
    return update_over(node, reason);
  }
  if (!node.lifecycle.is_second_machine) {
    audit(Severity::kWarning, "node.lifecycle_failed",
          to_string(node.id) + ": " + reason + "; another machine is tried: " + log_tail, node.id);
    return start_over(node, reason, true);
  }
  node.reason = reason;
  if (GroupRecord* group = find_group(node.group))
    group->failure = to_string(node.id) + ": lifecycle scripts: " + node.lifecycle.failure;
  if (state_.phase == ClusterPhase::kCreating || state_.phase == ClusterPhase::kUpdating)
    give_up_phase("lifecycle scripts fail");
  if (node.updating) update_over(node, reason);
  audit(Severity::kAlert, "node.lifecycle_failed",
        to_string(node.id) + ": " + reason +
            ", as on the machine before it; it is kept for you to " +
            "look at (`holdfast node logs " + to_string(node.id) +
            "`), and replaced by `holdfast node replace`: " + log_tail,
        node.id);
}

// Another machine takes its place, or its part in the pool.
void Controller::start_over(NodeRecord& node, const std::string& reason, bool is_second_machine) {
  set_place(node, 0);
  set_node(node, NodeState::kReplacing, reason);
  out_->push_back(effect::Terminate{node.id});
  if (GroupRecord* group = find_group(node.group); group != nullptr && !is_second_machine)
    group->failure.clear();
  fill_places();
  const std::uint32_t made = state_.nodes_made;
  refill_pool();
  if (is_second_machine && state_.nodes_made > made)
    find_node(NodeId{state_.nodes_made})->lifecycle.is_second_machine = true;
  start_queued_jobs();
}

}  // namespace holdfast
