// Jobs as they train: their phases, checkpoints, and where their accelerators' time goes.

#include <algorithm>

#include "sim/world.h"

namespace holdfast::sim {
namespace {

constexpr Span kNotice = {milliseconds(50), milliseconds(1500)};  // a peer's connection closes
// Until an agent looks at the pages of ranks that are starting.
constexpr Span kLook = {nanoseconds(0), milliseconds(20)};

}  // namespace

void World::submit_jobs() {
  for (const JobShape& shape : scenario_.jobs)
    for (std::uint32_t i = 1; i <= shape.count; ++i) {
      jobs_.push_back(std::make_unique<Job>());
      Job& job = *jobs_.back();
      job.shape = &shape;
      job.name = shape.name + (shape.count > 1 ? "-" + std::to_string(i) : "");
      job.group = ledger_.add_group();
      job.missing = ledger_.add_group();
      queue_.after(shape.submitted_at, [this, &job] { submit_job(job); });
    }
}

// The client asks again until it has heard that its job is there.
void World::submit_job(Job& job) {
  const JobShape& shape = *job.shape;
  if (server_ != nullptr) {
    const JobRecord* known = server_->controller().find_job_by_token(job.name);
    if (known != nullptr && job.id) return;
  }
  JobSpec spec{.name = job.name, .nodes_min = shape.nodes_min, .nodes_max = shape.nodes_max};
  spec.ranks_per_node = shape.ranks_per_node;
  if (shape.group != 0) spec.instance_group = group_name(shape.group);
  spec.allow_drifted = shape.allow_drifted;
  spec.command = {"train"};
  spec.retry = shape.retry;
  spec.hang = shape.hang;
  spec.request_token = job.name;
  submit(event::JobSubmitted{spec});
  queue_.after(seconds(3), [this, &job] { submit_job(job); });
}

Run* World::find_run(const RunKey& key) {
  // Each beat asks for one, mostly the same.
  if (last_found_ != nullptr && last_found_->key == key) return last_found_;
  const auto found = runs_.find(key);
  return found == runs_.end() ? nullptr : last_found_ = &found->second;
}

// An older attempt that has no rank left.
void World::forget_run(const RunKey& key) {
  const auto found = runs_.find(key);
  if (found == runs_.end() || found->second.alive != 0 || key.second >= job_of(key).attempt) return;
  last_found_ = nullptr;
  runs_.erase(found);
}

// The job is as fast as the slowest of its machines.
std::uint32_t World::slowest(const Run& run) {
  std::uint32_t percent = 100;
  if (slow_machines_ == 0) return percent;
  for (const NodeId node : run.members)
    if (node) percent = std::max(percent, machine(node).slow_percent);
  return percent;
}

void World::change_phase(Run& run, Run::Phase phase) {
  if (run.phase == Run::Phase::kTraining && phase != Run::Phase::kTraining) account_slowness(run);
  run.phase = phase;
  ++run.changes;
  ++run.marks;
  settle(job_of(run.key));
}

void World::later_in(const Run& run, Duration after, void (World::*what)(Run&)) {
  queue_.after(after, [this, key = run.key, changes = run.changes, what] {
    Run* then = find_run(key);
    if (then != nullptr && then->changes == changes) (this->*what)(*then);
  });
}

void World::joined(Run& run) {
  change_phase(run, Run::Phase::kRestoring);
  later_in(run, draw(prng_, scenario_.costs.restore), &World::restored);
}

void World::restored(Run& run) {
  Job& job = job_of(run.key);
  job.fence = std::max(job.fence, run.key.second);
  run.restored = job.committed;
  run.has_restored = job.committed > 0;
  run.pace.go(now(), run.restored, job.shape->step_time);
  run.pace.stop(now());
  checkers_.restored(run.key.first, run.key.second, run.restored, job.committed);
  change_phase(run, Run::Phase::kReady);
  if (run.has_restored) milestone(run, false);
  later_in(run, draw(prng_, scenario_.costs.first_step), &World::train);
}

void World::train(Run& run) {
  Job& job = job_of(run.key);
  const bool is_first = run.phase == Run::Phase::kReady;
  run.slow_percent = slowest(run);
  const Duration step = nanoseconds(job.shape->step_time.ns / 100 * run.slow_percent);
  run.pace.go(now(), run.pace.step_at(now()), step);
  run.slow_since = now();
  if (is_first) run.checkpoint_at = now() + job.shape->checkpoint_interval;
  change_phase(run, Run::Phase::kTraining);
  if (is_first) {
    queue_.after(step + nanoseconds(1), [this, key = run.key] {
      Run* then = find_run(key);
      if (then == nullptr || then->pace.step_at(now()) <= then->restored) return;
      job_of(key).trouble.reset();
      milestone(*then, false);
    });
    recur(run);
  }
  plan_checkpoint(run);
}

void World::plan_checkpoint(Run& run) {
  const JobShape& shape = *job_of(run.key).shape;
  const Instant due = run.pace.boundary(std::max(run.checkpoint_at, now()));
  if (shape.steps > 0 && run.pace.end_of(shape.steps) <= due)
    later_in(run, run.pace.end_of(shape.steps) - now(), &World::all_steps_done);
  else
    later_in(run, due - now(), &World::take_checkpoint);
}

void World::take_checkpoint(Run& run) {
  Job& job = job_of(run.key);
  account_slowness(run);
  run.pace.stop(now());
  run.checkpoint_at = now() + job.shape->checkpoint_interval;
  if (job.disk_full_until > now()) {
    ++run.save_failures;
    milestone(run, true);
    return train(run);
  }
  if (is_current(run)) ledger_.snapshot(now(), job.group);
  run.writing = run.pace.step_at(now());
  change_phase(run, Run::Phase::kCheckpointing);
  later_in(run, job.shape->checkpoint_stall, &World::checkpoint_taken);
}

void World::checkpoint_taken(Run& run) {
  queue_.after(job_of(run.key).shape->checkpoint_write, [this, key = run.key, step = run.writing] {
    Run* then = find_run(key);
    if (then != nullptr && then->writing == step && then->phase != Run::Phase::kStopped)
      checkpoint_written(*then);
  });
  train(run);
}

void World::checkpoint_written(Run& run) {
  Job& job = job_of(run.key);
  const std::uint64_t step = *run.writing;
  run.writing.reset();
  if (job.fence > run.key.second) return;  // the store refuses: a newer attempt has read it
  job.committed = std::max(job.committed, step);
  run.committed = step;
  if (is_current(run)) ledger_.commit(job.group);
  checkers_.committed(run.key.first, run.key.second, step);
  milestone(run, true);
}

// The last checkpoint is waited for.
void World::all_steps_done(Run& run) {
  Job& job = job_of(run.key);
  run.pace.stop(now());
  run.writing = run.pace.step_at(now());
  if (is_current(run)) ledger_.snapshot(now(), job.group);
  change_phase(run, Run::Phase::kEnding);
  later_in(run, job.shape->checkpoint_stall + job.shape->checkpoint_write, &World::end_well);
}

void World::end_well(Run& run) {
  checkpoint_written(run);
  job_of(run.key).trouble.reset();
  for (const NodeId node : run.members) {
    if (!node) continue;
    on_machine(machine(node), draw(prng_, kLook), [this, key = run.key](Machine& here) {
      std::vector<std::uint32_t> ranks;
      for (const Rank& rank : here.ranks)
        if (rank.run == key) ranks.push_back(rank.rank);
      for (const std::uint32_t rank : ranks) end_rank_of(here, key, rank, {});
    });
  }
}

// One that waits for another waits with it: the whole job stands still at once.
void World::stop_training(Run& run, std::optional<Job::Trouble> trouble) {
  Job& job = job_of(run.key);
  if (trouble && !job.trouble) job.trouble = std::move(trouble);
  if (run.phase == Run::Phase::kStopped) return;
  account_slowness(run);
  run.pace.stop(now());
  run.writing.reset();
  if (is_current(run)) ledger_.lose(now(), job.group);
  change_phase(run, Run::Phase::kStopped);
}

void World::pace_anew(Run& run) {
  account_slowness(run);
  run.slow_percent = slowest(run);
  if (run.phase != Run::Phase::kTraining || !run.pace.moves()) return;
  const JobShape& shape = *job_of(run.key).shape;
  run.pace.change(now(), nanoseconds(shape.step_time.ns / 100 * run.slow_percent));
  ++run.changes;
  plan_checkpoint(run);
}

void World::account_slowness(Run& run) {
  if (run.slow_percent > 100 && run.pace.moves() && is_current(run))
    ledger_.hold_up(now(), job_of(run.key).group,
                    (now() - run.slow_since) * std::int64_t{run.slow_percent - 100} /
                        std::int64_t{run.slow_percent});
  run.slow_since = now();
}

// What an agent that looks at the pages sees before its next heartbeat is due. Of a commit the
// first rank's news is enough: the others' decides nothing.
void World::milestone(Run& run, bool first_rank_only) {
  for (const NodeId node : run.members) {
    if (node)
      on_machine(machine(node), draw(prng_, kLook), [this, key = run.key](Machine& here) {
        if (Run* then = find_run(key)) {
          then->committed_shown = then->committed;
          then->save_failures_shown = then->save_failures;
          ++then->marks;
        }
        read_pages(here, false);
      });
    if (first_rank_only) return;
  }
}

// Those that are connected to the one that is gone: on its node and on the two beside it.
void World::peers_notice(const RunKey& key, std::uint32_t rank) {
  const Run* run = find_run(key);
  if (run == nullptr || run->nodes == 0) return;
  const std::uint32_t per_node = std::max(1u, run->world_size / run->nodes);
  const std::uint32_t at = rank / per_node;
  const std::set<std::uint32_t> near = {at, (at + 1) % run->nodes,
                                        (at + run->nodes - 1) % run->nodes};
  for (const std::uint32_t position : near) {
    const NodeId node = run->members[position];
    if (!node) continue;
    Machine& here = machine(node);
    for (const Rank& peer : here.ranks) {
      if (peer.run != key || peer.rank == rank || !here.prng.chance(3, 5)) continue;
      on_machine(here, draw(here.prng, kNotice), [this, key, number = peer.rank](Machine& then) {
        for (const Rank& one : then.ranks)
          if (one.run == key && one.rank == number && one.hung) return;
        end_rank_of(then, key, number,
                    {.code = 1,
                     .error_type = "RuntimeError",
                     .error_message = "Connection closed by peer"});
      });
    }
  }
}

// --- where the time goes

Part World::part_of(const Job& job) const {
  const auto run = runs_.find({job.id, job.attempt});
  switch (job.state) {
    case JobState::kQueued:
      return job.backs_off ? Part::kPlacement : Part::kWaitingForNodes;
    case JobState::kRecovering:
    case JobState::kStopping:
      return Part::kPlacement;
    case JobState::kStarting:
    case JobState::kRunning:
      break;
    case JobState::kSucceeded:
    case JobState::kFailed:
    case JobState::kStopped:
      return Part::kIdle;
  }
  if (run == runs_.end()) return Part::kPlacement;
  switch (run->second.phase) {
    case Run::Phase::kStarting:
    case Run::Phase::kJoining:
    case Run::Phase::kReady:
      return Part::kRestart;
    case Run::Phase::kRestoring:
      return Part::kRestore;
    case Run::Phase::kTraining:
      return run->second.pace.moves() ? Part::kUseful : Part::kDetection;
    case Run::Phase::kCheckpointing:
    case Run::Phase::kEnding:
      return Part::kCheckpointStall;
    case Run::Phase::kStopped:
      return Part::kDetection;
  }
  return Part::kDetection;
}

void World::settle(Job& job) {
  if (!job.id) return;
  const Part part = part_of(job);
  if (part == job.part) return;
  job.part = part;
  ledger_.set(now(), job.group, part);
}

void World::size_groups(Job& job, std::uint32_t nodes) {
  const std::uint64_t each = scenario_.topology.accelerators_per_node;
  const std::uint64_t wanted = nodes == 0 ? 0 : job.shape->nodes_max;
  const auto resize = [&](Ledger::Group group, std::uint64_t to) {
    const std::uint64_t has = ledger_.accelerators(group);
    if (has > to) ledger_.move(now(), group, Ledger::kPool, has - to);
    if (has < to)
      ledger_.move(now(), Ledger::kPool, group,
                   std::min(to - has, ledger_.accelerators(Ledger::kPool)));
  };
  if (nodes == 0) resize(job.missing, 0);
  resize(job.missing, std::min(ledger_.accelerators(job.missing), (wanted - nodes) * each));
  resize(job.group, nodes * each);
  resize(job.missing, (wanted - nodes) * each);
  ledger_.set(now(), job.missing, Part::kWaitingForNodes);
}

// What the control plane decided about each job since the last time.
void World::follow_jobs() {
  const ClusterState& state = server_->controller().state();
  for (const auto& owned : jobs_) {
    Job& job = *owned;
    if (!job.id) {
      const JobRecord* record = server_->controller().find_job_by_token(job.name);
      if (record == nullptr) continue;
      job.id = record->id;
      jobs_by_id_[job.id] = &job;
      size_groups(job, job.shape->nodes_max);
    }
    const JobRecord& record = state.jobs.at(job.id);
    if (record.attempt.number != job.attempt) {
      const RunKey old{job.id, job.attempt};
      if (const Run* run = find_run(old); run != nullptr && run->phase != Run::Phase::kStopped)
        ledger_.lose(now(), job.group);  // it may train on, on nodes that are no members any more
      job.attempt = record.attempt.number;
      forget_run(old);
      size_groups(job, static_cast<std::uint32_t>(record.attempt.nodes.size()));
    }
    if (record.incident && record.incident != job.incident) {
      IncidentTrace& trace = traces_[record.incident];
      trace.nodes = static_cast<std::uint32_t>(record.attempt.nodes.size());
      if (job.trouble) {
        trace.fault = job.trouble->fault;
        trace.fault_at = job.trouble->at;
        trace.truth = job.trouble->truth;
      }
    }
    job.incident = record.incident;
    job.made_step = record.attempt.made_step;
    if (record.has_ended() && job.state != record.state) size_groups(job, 0);
    job.state = record.state;
    job.backs_off = record.not_before.has_value();
    settle(job);
  }
}

}  // namespace holdfast::sim
