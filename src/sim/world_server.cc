// What a shell does around the control plane's machine: its clock, its disk, its crashes.

#include <algorithm>

#include "model/codec.h"
#include "sim/world.h"

namespace holdfast::sim {
namespace {

constexpr std::size_t kEntriesPerSnapshot = 20'000;
constexpr Duration kOperatorLooks = seconds(1);

}  // namespace

void World::boot_server() {
  server_ = std::make_unique<ServerMachine>();
  arm_look();
}

// News that no agent brings: of machines, and from persons. They wait, or ask again, while the
// control plane is down; so here they are lost, and whoever cares sends them again.
void World::submit(Event event) {
  if (server_ == nullptr) return;
  server_->submit(std::move(event));
  if (!writing_) begin_turn();
}

void World::arrive(NodeId node, std::uint64_t stream, AgentMessage message) {
  if (server_ == nullptr) return;
  Machine& from = machine(node);
  if (from.broken_stream == stream && from.tail_lost) return;
  if (stream < from.server_stream) return;
  from.server_stream = stream;
  if (writing_) {
    waiting_.emplace_back(node, std::move(message));
    return;
  }
  ++steps_;
  server_->take(server_now(), node, std::move(message));
  if (server_->has_input()) begin_turn();
}

void World::begin_turn() {
  unsynced_.clear();
  for (ServerMachine::Entry& entry : server_->turn(server_now())) {
    note(entry);
    unsynced_.push_back({entry.at, std::move(entry.event), entry.effects_digest});
  }
  if (unsynced_.empty()) return;
  writing_ = true;
  Duration takes = options_.chaos.journal_write;
  if (disk_slow_until_ > now()) takes = takes + disk_slow_;
  queue_.after(takes, [this, life = server_life_] {
    if (life == server_life_) end_turn();
  });
}

// The write is on the disk.
void World::end_turn() {
  std::move(unsynced_.begin(), unsynced_.end(), std::back_inserter(journal_));
  unsynced_.clear();
  const std::uint64_t life = server_life_;
  const std::uint32_t crashes = options_.chaos.crash_per_million;
  for (const Effect& effect : server_->durable(server_now())) {
    if (crashes > 0 && now() < calm_ && server_prng_.below(1'000'000) < crashes) crash_server();
    if (life != server_life_) return;
    perform(effect);
  }
  if (!options_.thorough && journal_.size() >= kEntriesPerSnapshot) {
    snapshot_ = server_->controller().state();
    journal_.clear();
  }
  writing_ = false;
  follow_jobs();
  for (auto& [node, message] : std::exchange(waiting_, {})) {
    ++steps_;
    server_->take(server_now(), node, std::move(message));
  }
  if (server_->has_input()) return begin_turn();
  arm_look();
}

void World::note(const ServerMachine::Entry& entry) {
  ++steps_;
  digest_.add(std::to_string(entry.at.ns) + " " + std::to_string(entry.event.index()) + " " +
              std::to_string(entry.effects_digest));
  if (options_.on_entry) options_.on_entry(entry);
  const Controller& controller = server_->controller();
  checkers_.stepped(controller, entry.event, server_now());
  for (const effect::Audit& audit : entry.audits) {
    checkers_.audited(controller, audit, server_now());
    note_audit(audit);
  }
  if (!options_.thorough) return;
  if (const auto broken = controller.check_invariants()) violation("invariants", *broken);
}

void World::note_audit(const effect::Audit& audit) {
  const bool taken_out = audit.kind == "node.cordoned" || audit.kind == "node.lost";
  if (taken_out) {
    ++outcome_.machines_replaced;
    const auto job = jobs_by_id_.find(audit.job);
    if (job != jobs_by_id_.end() && job->second->incident)
      ++traces_[job->second->incident].machines_replaced;
  }
  if (audit.kind == "breaker.open") ++outcome_.breaker_opened;
  if (audit.kind == "update.failed" && server_ != nullptr &&
      server_->controller().state().software_update->state == SoftwareUpdateState::kRolledBack)
    ++outcome_.updates_rolled_back;
  const bool decided = audit.kind == "incident" &&
                       audit.text.find("verdict ") != std::string::npos &&
                       audit.text.find("verdict scheduling") == std::string::npos;
  if (taken_out || decided) outcome_.last_decision_at = now();
  if (audit.node && audit.node.value <= machines_.size()) reconsider(machine(audit.node));
}

void World::perform(const Effect& effect) {
  if (const auto* send = std::get_if<effect::Send>(&effect)) {
    send_to_agent(send->node, send->message);
    if (std::holds_alternative<server_message::Fenced>(send->message) && send->node.value != 0 &&
        send->node.value <= machines_.size()) {
      Machine& fenced = machine(send->node);  // the stream is closed behind it
      fenced.server_stream = 0;
      queue_.at(fenced.last_to_agent + milliseconds(1),
                [this, id = fenced.id, stream = fenced.stream] {
                  if (machine(id).stream == stream) break_stream(machine(id));
                });
    }
  } else if (const auto* made = std::get_if<effect::Provision>(&effect)) {
    provision(made->node);
  } else if (const auto* ended = std::get_if<effect::Terminate>(&effect)) {
    terminate(ended->node);
  } else if (const auto* again = std::get_if<effect::Reboot>(&effect)) {
    reboot(again->node);
  }
}

void World::arm_look() {
  if (server_ == nullptr) return;
  Instant at = std::max(server_->next_look() - server_offset_, now());
  if (skipping_) {  // for the timers alone
    const auto timer = server_->next_timer();
    if (!timer) return;
    at = std::max(*timer - server_offset_, now());
  }
  if (!look_at_ || *look_at_ > at) look_at(at);
}

void World::look_at(Instant when) {
  look_at_ = when;
  queue_.beat_at(when, [this, timer = ++look_timer_] {
    if (timer == look_timer_) look();
  });
}

void World::look() {
  look_at_.reset();
  if (server_ == nullptr || writing_) return;
  if (skipping_) hear_all();
  ++steps_;
  server_->look(server_now());
  if (server_->has_input()) return begin_turn();
  arm_look();
}

// Everything in memory is gone, and whatever was on its way. A write under way is on the disk or it
// is not: a journal's transaction that is torn is none.
void World::crash_server() {
  if (server_ == nullptr) return;
  ++outcome_.server_crashes;
  ++server_life_;
  const bool is_lost =
      !unsynced_.empty() && server_prng_.below(100) < options_.chaos.batch_lost_per_cent;
  if (is_lost) unsynced_.clear();
  std::move(unsynced_.begin(), unsynced_.end(), std::back_inserter(journal_));
  unsynced_.clear();
  const std::optional<std::uint64_t> digest =
      is_lost || !options_.thorough ? std::nullopt : std::optional(server_->controller().digest());
  server_.reset();
  writing_ = false;
  look_at_.reset();
  ++look_timer_;
  waiting_.clear();
  for (const auto& machine : machines_) {
    machine->server_stream = 0;
    if (machine->stream != 0) break_stream(*machine);
  }
  const Duration down = draw(server_prng_, scenario_.costs.server_restart);
  queue_.after(down, [this, digest] { recover_server(digest); });
  // The wall clock, by which it finds its place in time again, may have been set meanwhile.
  if (server_prng_.below(100) < options_.chaos.clock_jump_per_cent)
    server_offset_ =
        server_offset_ + draw(server_prng_, {nanoseconds(0) - down, seconds(2 * 3600)});
}

// Through the real codec: what the disk has is text.
void World::recover_server(std::optional<std::uint64_t> digest) {
  server_ = std::make_unique<ServerMachine>();
  ++server_life_;
  if (snapshot_) {
    Result<ClusterState> state = decode_cluster_state(encode(*snapshot_));
    if (!state.ok()) return violation("replay", "snapshot: " + state.error().text());
    server_->restore(std::move(state).value());
  }
  for (const Record& record : journal_) {
    const Result<Event> event = decode_event(encode(record.event));
    if (!event.ok()) return violation("replay", "journal: " + event.error().text());
    if (server_->replay(record.at, *event) != record.effects_digest)
      violation("replay", "an entry of the journal leads to other effects than it did");
  }
  if (digest && server_->controller().digest() != *digest)
    violation("replay", "the journal's replay gives another state than the one that crashed");
  if (!journal_.empty()) server_offset_ = std::max(server_offset_, journal_.back().at - now());
  server_->recovered(server_now());
  checkers_.restarted(server_->controller(), server_now());
  begin_turn();
}

void World::check_replay(bool at_end) {
  ServerMachine replayed;
  for (const std::vector<Record>* records : {&journal_, &unsynced_})
    for (const Record& record : *records) {
      const Result<Event> event = decode_event(encode(record.event));
      if (!event.ok()) return violation("replay", event.error().text());
      (void)replayed.replay(record.at, *event);
    }
  if (replayed.controller().digest() != server_->controller().digest())
    violation("replay", at_end ? "the journal's replay gives another state than the run"
                               : "the journal's replay gives another state");
}

// What a node that asks for them is sent, once it is durable which ones these are; nullopt: nothing
// yet.
std::optional<std::string> World::lifecycle_files(NodeId id, std::uint32_t run) {
  if (server_ == nullptr || writing_) return std::nullopt;
  const Controller& core = server_->controller();
  const NodeRecord* node = core.node(id);
  if (node == nullptr || node->state != NodeState::kLifecycleScript || node->lifecycle.run != run)
    return std::nullopt;
  const LifecycleVersion* kept = core.kept_version(*node);
  const std::string files = kept != nullptr ? kept->files : std::to_string(scripts_now_);
  for (const GroupRecord& group : core.state().groups)
    for (const LifecycleVersion& version : group.versions)
      if (version.files == files && version.nodes.contains(id)) return files;
  submit(event::LifecycleFilesRead{id, run, files, ""});
  return std::nullopt;
}

// At whole seconds.
void World::plan_operator(Instant from) {
  const std::int64_t each = kOperatorLooks.ns;
  queue_.beat_at(Instant{(from.ns + each - 1) / each * each}, [this] { operate(); });
}

// A person who reacts to alerts, slowly; and the checkers, who look once a second.
void World::operate() {
  plan_operator(now() + nanoseconds(1));
  if (server_ == nullptr || writing_) return;
  const ClusterState& state = server_->controller().state();
  checkers_.swept(server_->controller(), server_now());
  const Policy& policy = scenario_.policy;
  if (!state.breaker.open)
    breaker_seen_ = now();
  else if (policy.operator_closes_breaker_after &&
           now() - breaker_seen_ >= *policy.operator_closes_breaker_after)
    return submit(event::BreakerCloseAsked{"operator"});
  if (!policy.operator_adds_node_after || now() - node_added_ < *policy.operator_adds_node_after)
    return;
  for (const auto& [id, job] : jobs_by_id_) {
    const JobRecord& record = state.jobs.at(id);
    if (record.state != JobState::kQueued || record.reason.find("node add") == std::string::npos)
      continue;
    node_added_ = now();
    return submit(event::NodeAddAsked{"operator"});
  }
}

// What an operator does to a cluster that is well, at any moment. In the end it is what it was: a
// software update may be under way then, so that is tried again and again.
void World::plan_changes() {
  constexpr Duration kAgain = seconds(20);
  const auto& every = scenario_.policy.operator_changes_cluster_every;
  if (!every) return;
  const auto plan = [this](Instant at, void (World::*change)()) {
    risk_at(at);
    queue_.at(at, [this, change] {
      if (server_ != nullptr && !writing_) (this->*change)();
    });
  };
  for (Instant at = start_ + *every; at < calm_; at = at + *every) plan(at, &World::change_cluster);
  for (Instant at = calm_ + kAgain; at < end_; at = at + kAgain) plan(at, &World::mend_cluster);
}

void World::change_cluster() {
  const ClusterState& state = server_->controller().state();
  const auto below = [this](std::uint64_t bound) {
    return static_cast<std::uint32_t>(operator_prng_.below(bound));
  };
  const NodeId node{1 + below(state.nodes_made)};
  ClusterSpec spec = state.spec;
  switch (below(4)) {
    case 0: {
      const std::size_t i = below(spec.groups.size());
      spec.groups[i].count = below(made_.groups[i].count + std::uint64_t{1});
      spec.groups[i].spares = below(made_.groups[i].spares + std::uint64_t{1});
      return submit(event::ClusterUpdateAsked{spec, "operator", "", ""});
    }
    case 1:
      return submit(event::NodesRemoveAsked{{node}, "operator"});
    case 2:
      return submit(event::NodeRebootAsked{node, "operator"});
    default: {
      // Reboots may take minutes here: two batches of them, begun early, are over in the calm.
      const std::uint32_t batch = (slots() + 1) / 2 + below(slots());
      if (now() - start_ > (calm_ - start_) / 3) return;
      Deployment deployment{.batch = {.nodes = batch}, .wait = seconds(1)};
      if (below(2) == 0) deployment.rollback_batch.percent = 60;
      if (below(2) == 0)
        deployment.alarms.emplace_back(effect::kAlertKinds[below(effect::kAlertKinds.size())]);
      if (state.phase == ClusterPhase::kInService && below(4) != 0) ++scripts_now_;
      if (state.phase == ClusterPhase::kInService && scripts_now_ > 1 && below(3) == 0)
        bad_scripts_.insert(std::to_string(scripts_now_));
      return submit(event::SoftwareUpdateAsked{{}, deployment, "operator"});
    }
  }
}

void World::mend_cluster() {
  ClusterSpec spec = server_->controller().state().spec;
  if (server_->controller().state().phase == ClusterPhase::kSystemUpdating) return;
  while (bad_scripts_.contains(std::to_string(scripts_now_))) ++scripts_now_;
  for (const auto& [id, node] : server_->controller().state().nodes)
    if (node.state == NodeState::kLifecycleScript &&
        node.lifecycle.status == LifecycleStatus::kFailed)
      return submit(event::NodeReplaceAsked{id, "operator"});
  bool is_less = false;
  for (std::size_t i = 0; i < spec.groups.size(); ++i) {
    InstanceGroup& group = spec.groups[i];
    is_less = is_less || group.count < made_.groups[i].count;
    group.count = std::max(group.count, made_.groups[i].count);
    group.spares = std::max(group.spares, made_.groups[i].spares);
  }
  if (is_less) submit(event::ClusterUpdateAsked{spec, "operator", "", ""});
}

}  // namespace holdfast::sim
