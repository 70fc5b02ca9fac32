#include "sim/world.h"

#include <algorithm>

#include "model/codec.h"

namespace holdfast::sim {
namespace {

constexpr std::uint32_t kSamples = 1000;
constexpr std::uint64_t kStepsPerReport = 100'000;

bool is_over(JobState state) {
  return state >= JobState::kSucceeded;
}

Duration longest_step(const Scenario& scenario) {
  Duration longest;
  for (const JobShape& shape : scenario.jobs) longest = std::max(longest, shape.step_time);
  return longest;
}

}  // namespace

World::World(const Scenario& scenario, std::uint64_t seed, const RunOptions& options)
    : scenario_(scenario),
      seed_(seed),
      options_(options),
      queue_(Instant{} + seconds(1)),
      start_(queue_.now()),
      end_(start_ + scenario.duration),
      calm_(options.calm_from > Duration{} ? start_ + options.calm_from : end_),
      prng_(seed, 1),
      ledger_(start_, std::uint64_t{slots()} * scenario.topology.accelerators_per_node),
      checkers_(scenario_, [this](const std::string& checker,
                                  const std::string& text) { violation(checker, text); }),
      server_prng_(seed, 2),
      operator_prng_(seed, 3) {
  const Network& network = scenario.network;
  const Duration slowest = network.delay.most * std::max(1u, network.slow_factor);
  // Every node has been heard of, and every rank has made a step.
  margin_ = longest_step(scenario) * 2 + scenario.policy.heartbeat_interval * 3 + slowest +
            network.retransmit + seconds(1);
  outcome_.scenario = scenario.name;
  outcome_.seed = seed;
  outcome_.start = start_;
}

Outcome run(const Scenario& scenario, std::uint64_t seed, const RunOptions& options) {
  return World(scenario, seed, options).run();
}

Outcome World::run() {
  begin();
  const bool must_settle = options_.calm_from > Duration{};
  std::uint64_t reported = 0;
  while (const auto next = queue_.next()) {
    if (*next > end_ || (options_.thorough && !outcome_.violations.empty())) break;
    if (options_.coalesce) skip_beats();
    queue_.run_next();
    if (options_.on_progress && steps_ - reported >= kStepsPerReport) {
      reported = steps_;
      options_.on_progress(now() - start_);
    }
  }
  if (must_settle && outcome_.violations.empty() && server_ != nullptr) {
    std::vector<NodeId> alive;
    for (const auto& machine : machines_)
      if (machine->agent != nullptr) alive.push_back(machine->id);
    checkers_.settled(server_->controller(), alive, server_now());
  }
  finish();
  return std::move(outcome_);
}

void World::begin() {
  boot_server();
  const Topology& topology = scenario_.topology;
  const Policy& policy = scenario_.policy;
  ClusterSpec spec{.name = "simulated"};
  const auto share = [&](std::uint32_t whole, std::uint32_t i) {
    return whole / topology.groups + (i < whole % topology.groups ? 1 : 0);
  };
  for (std::uint32_t i = 0; i < topology.groups; ++i)
    spec.groups.push_back({.name = group_name(i + 1),
                           .count = share(topology.nodes, i),
                           .spares = share(topology.spares, i)});
  if (policy.lifecycle_scripts)
    for (InstanceGroup& group : spec.groups)
      group.lifecycle = {.source = "simulated", .on_create = "on_create.sh"};
  spec.machines_max = topology.machines_max;
  spec.breaker_percent = policy.breaker_percent;
  spec.breaker_window = policy.breaker_window;
  spec.heartbeat_interval = policy.heartbeat_interval;
  spec.silence_max = policy.silence_max;
  if (policy.deep_checks)
    spec.checks.on_start = {CheckKind::kInstanceStress, CheckKind::kInstanceConnectivity};
  made_ = spec;
  submit(event::ClusterMade{spec});
  submit_jobs();
  plan_faults();
  plan_changes();
  operate();
  sample();
}

void World::violation(const std::string& checker, const std::string& text) {
  constexpr std::size_t kKept = 100;
  if (outcome_.violations.size() < kKept) outcome_.violations.push_back({checker, text, now(), {}});
}

void World::sample() {
  Sample sample;
  sample.at = now();
  sample.totals = ledger_.totals(now());
  if (server_ != nullptr) {
    const NodeIndex& nodes = server_->controller().nodes();
    sample.spares_ready = static_cast<std::uint32_t>(nodes.idle_spares.size());
    sample.nodes_healthy =
        static_cast<std::uint32_t>(nodes.idle_spares.size() + nodes.free.size()) + nodes.busy;
  }
  if (sum(sample.totals) != ledger_.whole(now()))
    violation("ledger_sum", "the parts of the accelerators' time do not sum to the whole");
  outcome_.samples.push_back(sample);
  if (now() < end_)
    queue_.at(std::min(end_, now() + scenario_.duration / kSamples), [this] { this->sample(); });
}

void World::finish() {
  outcome_.end = std::min(end_, now());
  if (outcome_.samples.empty() || outcome_.samples.back().at < outcome_.end) {
    end_ = outcome_.end;
    sample();
  }
  outcome_.totals = ledger_.totals(outcome_.end);
  outcome_.whole = ledger_.whole(outcome_.end);
  outcome_.events = steps_;
  outcome_.last_draw = prng_.next() ^ server_prng_.next();
  for (const auto& machine : machines_) outcome_.last_draw ^= machine->prng.next();
  if (server_ == nullptr) recover_server({});
  if (options_.thorough) check_replay(true);
  const ClusterState& state = server_->controller().state();
  digest_.add(encode(state));
  outcome_.digest = digest_.value();
  for (const auto& [id, incident] : state.incidents) {
    IncidentTrace trace = traces_[id];
    trace.id = id;
    trace.job = incident.job;
    trace.phases = incident.phases;
    trace.state = incident.state;
    trace.rounds = static_cast<std::uint32_t>(incident.verdicts.size());
    trace.steps_lost = incident.steps_lost;
    if (!incident.verdicts.empty()) {
      trace.cause = incident.verdicts.back().cause;
      trace.action = incident.verdicts.back().action;
      trace.summary = incident.verdicts.back().summary;
    }
    if (trace.fault_at == Instant{}) trace.fault_at = trace.phases[0].value_or(start_);
    outcome_.incidents.push_back(std::move(trace));
  }
  for (const auto& job : jobs_) {
    if (!job->id) continue;
    const JobRecord& record = state.jobs.at(job->id);
    outcome_.jobs.push_back({job->id, job->name, record.state, record.reason,
                             std::max(record.step_reached, record.attempt.step), job->committed,
                             record.attempt.number.value});
  }
}

// --- beats between which nothing can happen

bool World::is_calm() const {
  if (server_ == nullptr || !doubtful_.empty()) return false;
  if (server_->controller().state().breaker.open) return false;
  const bool brings = scenario_.policy.operator_adds_node_after.has_value();
  return std::none_of(jobs_.begin(), jobs_.end(), [this, brings](const auto& job) {
    if (job->state == JobState::kQueued) return brings;
    if (job->state != JobState::kRunning) return job->id && !is_over(job->state);
    if (!job->made_step || job->incident) return true;  // a beat may bring its first step
    const auto run = runs_.find({job->id, job->attempt});
    return run == runs_.end() || (run->second.phase != Run::Phase::kTraining &&
                                  run->second.phase != Run::Phase::kCheckpointing);
  });
}

// When the next thing goes wrong, less the time in which all beats must have been sent.
Instant World::next_risk() const {
  Instant next = end_;
  for (const Instant at : source_next_) next = std::min(next, at);
  if (!risks_.empty()) next = std::min(next, *risks_.begin());
  return next - margin_;
}

// Nobody is silent and no rank stands still, so until something goes wrong no heartbeat says
// anything that decides. The control plane then takes it that it stood still itself. From `margin_`
// before a fault on all beats are sent, so that what it knows then is what it would have known.
void World::skip_beats() {
  const bool is_calm = this->is_calm();
  if (!skipping_) {
    if (!is_calm || next_risk() - now() < scenario_.policy.heartbeat_interval * 4) return;
    skipping_ = true;
    queue_.forget_beats();
    beats_ = {};
    look_at_.reset();
    arm_look();
  }
  const Instant next = std::max(next_risk(), now());

  if (is_calm && queue_.next() && *queue_.next() <= next) return;
  skipping_ = false;
  const Instant from = is_calm ? next : now();
  queue_.forget_beats();
  for (const auto& machine : machines_) {
    if (machine->agent == nullptr || machine->beat_timer == 0) continue;
    const Duration interval = machine->beat_interval;
    if (machine->next_beat < from) {
      const std::int64_t skipped = ((from - machine->next_beat).ns + interval.ns - 1) / interval.ns;
      machine->next_beat = machine->next_beat + interval * skipped;
      machine->beats += static_cast<std::uint64_t>(skipped);
    }
    plan_beat(*machine);
  }
  queue_.beat_at(from, [this] { hear_all(); });
  look_at(from);
  plan_operator(from);
}

// Whom the control plane has not heard of for long because we left it out, it hears of now.
void World::hear_all() {
  lands_at_once_ = true;
  for (const auto& machine : machines_) {
    if (machine->agent == nullptr || machine->frozen_until > now()) continue;
    // News that are on their way are not overtaken by newer ones.
    if (machine->last_to_server <= now()) read_pages(*machine, true);
    step_agent(*machine, agent_event::HeartbeatDue{machine->rendezvous_port}, true);
  }
  lands_at_once_ = false;
}

// --- machines

void World::on_machine(Machine& machine, Duration after, std::function<void(Machine&)> action) {
  queue_.after(after, [this, id = machine.id, life = machine.life, action = std::move(action)] {
    run_on_machine(id, life, action);
  });
}

void World::run_on_machine(NodeId id, std::uint64_t life,
                           const std::function<void(Machine&)>& action) {
  Machine& here = machine(id);
  if (here.life != life) return;
  if (here.frozen_until > now())
    queue_.at(here.frozen_until, [this, id, life, action] { run_on_machine(id, life, action); });
  else
    action(here);
}

}  // namespace holdfast::sim
