#include "core/agent/agent_machine.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "core/diagnose/kernel_log.h"
#include "core/diagnose/verdict.h"

namespace holdfast {
namespace {

constexpr std::size_t kFaultsKept = 16;
constexpr std::size_t kOomKillsKept = 64;
// What lifecycle scripts wait for, a mount or a package server, is rarely there a second later.
constexpr Duration kLifecyclePause = seconds(5);

bool is_milestone(const RankProgress& before, const RankProgress& now) {
  return before.restored_step != now.restored_step || before.committed_step != now.committed_step ||
         before.checkpoint_failures != now.checkpoint_failures ||
         (before.steps_this_attempt == 0 && now.steps_this_attempt != 0);
}

}  // namespace

AgentMachine::Rank* AgentMachine::Run::find(std::uint32_t rank) {
  const std::uint32_t first = start.first_rank();
  return rank < first || rank - first >= ranks.size() ? nullptr : &ranks[rank - first];
}

void AgentMachine::step(Instant now, const AgentEvent& event, AgentEffects& out) {
  now_ = now;
  out_ = &out;
  std::visit([this](const auto& e) { on(e); }, event);
  out_ = nullptr;
}

bool AgentMachine::is_starting() const {
  for (const auto& [job, run] : runs_)
    for (const Rank& rank : run.ranks)
      if (rank.state != Rank::State::kEnded && rank.progress.steps_this_attempt == 0) return true;
  return false;
}

void AgentMachine::send(AgentMessage message) {
  out_->push_back(agent_effect::Send{std::move(message)});
}

AgentMachine::Run* AgentMachine::find_run(JobId job, Attempt attempt) {
  const auto found = runs_.find(job);
  return found == runs_.end() || found->second.start.attempt != attempt ? nullptr : &found->second;
}

void AgentMachine::on(const agent_event::Connected& connected) {
  agent_message::Hello hello = connected.self;
  rendezvous_port_ = hello.rendezvous_port;
  for (const auto& [job, run] : runs_) {
    AttemptReport report{
        .job = job, .attempt = run.start.attempt, .drained = run.drained(), .exited = run.exits};
    for (const Rank& rank : run.ranks)
      if (rank.state == Rank::State::kRunning) report.running.push_back(rank.progress.rank);
    hello.attempts.push_back(std::move(report));
  }
  hello.lifecycle_cut_off = lifecycle_cut_off_;
  send(std::move(hello));
}

void AgentMachine::on(const agent_event::Received& received) {
  std::visit([this](const auto& message) { on_message(message); }, received.message);
}

void AgentMachine::on_message(const server_message::Welcome& welcome) {
  for (auto& [job, run] : runs_) {
    run.has_news = true;
    for (Rank& rank : run.ranks) rank.sent = false;
  }
  for (const Fault& fault : condemning_faults_) send(agent_message::FaultSeen{fault});
  for (Fault& fault : watch_.present()) send(agent_message::FaultSeen{std::move(fault), true});
  if (check_state_ == CheckState::kDone) send(check_);
  out_->push_back(agent_effect::ArmHeartbeat{welcome.heartbeat_interval});
  heartbeat();
}

void AgentMachine::on_message(const server_message::StartRanks& start) {
  const auto found = runs_.find(start.job);
  if (found != runs_.end()) {
    Run& run = found->second;
    if (start.attempt <= run.start.attempt) return;  // stale, or told twice
    if (!run.drained()) {
      run.stopping = true;
      run.next = start;
      out_->push_back(agent_effect::KillRanks{start.job, run.start.attempt, SIGKILL});
      return;
    }
  }
  begin(start);
}

void AgentMachine::begin(const server_message::StartRanks& start) {
  stop_check();
  stop_lifecycle();
  Run run;
  run.start = start;
  run.ranks.resize(start.spec.ranks_per_node);
  for (std::uint32_t local = 0; local < start.spec.ranks_per_node; ++local) {
    run.ranks[local].progress.rank = start.first_rank() + local;
    out_->push_back(agent_effect::StartRank{start, local});
  }
  warm_.insert(start.job);
  runs_[start.job] = std::move(run);
}

void AgentMachine::on_message(const server_message::StopRanks& stop) {
  const auto found = runs_.find(stop.job);
  if (found == runs_.end() || found->second.start.attempt > stop.attempt ||
      found->second.drained()) {
    if (found != runs_.end() && found->second.start.attempt <= stop.attempt)
      found->second.stopping = true;
    send(agent_message::AttemptDrained{stop.job, stop.attempt});
    return;
  }
  Run& run = found->second;
  run.stopping = true;
  run.stop_up_to = std::max(run.stop_up_to, stop.attempt);
  if (run.next && run.next->attempt <= stop.attempt) run.next.reset();
  const bool gentle = stop.grace > Duration{};
  out_->push_back(agent_effect::KillRanks{stop.job, run.start.attempt, gentle ? SIGTERM : SIGKILL});
  if (gentle) out_->push_back(agent_effect::ArmGrace{stop.job, run.start.attempt, stop.grace});
}

void AgentMachine::on(const agent_event::GraceOver& over) {
  Run* run = find_run(over.job, over.attempt);
  if (run != nullptr && run->stopping && !run->drained())
    out_->push_back(agent_effect::KillRanks{over.job, over.attempt, SIGKILL});
}

void AgentMachine::on_message(const server_message::CollectStacks& collect) {
  Run* run = find_run(collect.job, collect.attempt);
  if (run == nullptr) return;
  for (const Rank& rank : run->ranks)
    if (rank.state == Rank::State::kRunning)
      out_->push_back(
          agent_effect::CollectStacks{collect.job, collect.attempt, rank.progress.rank});
}

void AgentMachine::on(const agent_event::StacksRead& read) {
  send(read.stacks);
}

void AgentMachine::on_message(const server_message::WarmUp& warm_up) {
  if (warm_.insert(warm_up.job).second)
    out_->push_back(agent_effect::WarmUp{warm_up.job, warm_up.spec});
}

void AgentMachine::on_message(const server_message::ForgetJob& forget) {
  const auto found = runs_.find(forget.job);
  if (found != runs_.end() && !found->second.drained()) return;  // StopRanks comes first
  if (found != runs_.end()) runs_.erase(found);
  if (warm_.erase(forget.job) > 0) out_->push_back(agent_effect::CoolDown{forget.job});
}

void AgentMachine::on_message(const server_message::StartCheck& start) {
  if (check_state_ != CheckState::kNone && check_.check == start.check &&
      check_.step == start.step) {  // told twice
    if (check_state_ == CheckState::kDone) send(check_);
    return;
  }
  stop_check();
  check_ = {.check = start.check, .step = start.step};
  check_state_ = CheckState::kRunning;
  out_->push_back(agent_effect::StartCheck{start});
}

void AgentMachine::on_message(const server_message::StopCheck& stop) {
  if (check_.check == stop.check) stop_check();
}

void AgentMachine::stop_check() {
  if (check_state_ == CheckState::kRunning) out_->push_back(agent_effect::StopCheck{});
  check_state_ = CheckState::kNone;
}

void AgentMachine::on(const agent_event::CheckDone& done) {
  if (check_state_ != CheckState::kRunning || check_.check != done.report.check ||
      check_.step != done.report.step)
    return;
  check_ = done.report;
  check_state_ = CheckState::kDone;
  send(check_);
}

void AgentMachine::on(const agent_event::LifecycleFound& found) {
  lifecycle_cut_off_ = found.cut_off;
  if (!found.done) return;
  lifecycle_report_ = *found.done;
  lifecycle_.run = found.done->run;
  lifecycle_state_ = LifecycleState::kDone;
}

void AgentMachine::on_message(const server_message::RunLifecycle& start) {
  if (lifecycle_state_ != LifecycleState::kNone && start.run <= lifecycle_.run) {  // told twice
    if (lifecycle_state_ == LifecycleState::kDone && start.run == lifecycle_.run)
      send(lifecycle_report_);
    return;
  }
  stop_lifecycle();
  lifecycle_ = start;
  lifecycle_report_ = {.run = start.run, .tries = 1};
  lifecycle_cut_off_ = 0;
  lifecycle_state_ = LifecycleState::kRunning;
  out_->push_back(agent_effect::TryLifecycle{start});
}

void AgentMachine::on(const agent_event::LifecycleTried& tried) {
  if (lifecycle_state_ != LifecycleState::kRunning || tried.run != lifecycle_.run) return;
  lifecycle_report_.ok = tried.ok;
  lifecycle_report_.reason = tried.reason;
  lifecycle_report_.log_tail = tried.log_tail;
  if (tried.ok || lifecycle_report_.tries >= lifecycle_.tries_max) {
    lifecycle_state_ = LifecycleState::kDone;
    send(lifecycle_report_);
    return;
  }
  lifecycle_state_ = LifecycleState::kPausing;
  Duration pause = kLifecyclePause;
  for (std::uint32_t i = 1; i < lifecycle_report_.tries && pause < minutes(5); ++i)
    pause = pause * 4;
  out_->push_back(agent_effect::ArmLifecycleRetry{tried.run, pause});
}

void AgentMachine::on(const agent_event::LifecycleRetryDue& due) {
  if (lifecycle_state_ != LifecycleState::kPausing || due.run != lifecycle_.run) return;
  lifecycle_state_ = LifecycleState::kRunning;
  ++lifecycle_report_.tries;
  out_->push_back(agent_effect::TryLifecycle{lifecycle_});
}

void AgentMachine::stop_lifecycle() {
  if (lifecycle_state_ == LifecycleState::kRunning) out_->push_back(agent_effect::StopLifecycle{});
  if (lifecycle_state_ != LifecycleState::kDone) lifecycle_state_ = LifecycleState::kNone;
}

void AgentMachine::on_message(const server_message::Fenced& fenced) {
  stop_check();
  stop_lifecycle();
  for (auto& [job, run] : runs_) {
    run.next.reset();
    if (run.drained()) continue;
    run.stopping = true;  // what is born from here on dies at once
    out_->push_back(agent_effect::KillRanks{job, run.start.attempt, SIGKILL});
  }
  out_->push_back(agent_effect::Leave{fenced.reason});
}

void AgentMachine::on(const agent_event::RankStarted& started) {
  Run* run = find_run(started.job, started.attempt);
  if (run == nullptr) return;
  Rank* rank = run->find(started.rank);
  if (rank == nullptr || rank->state != Rank::State::kAsked) return;
  rank->state = Rank::State::kRunning;
  rank->pid = started.pid;
  if (run->stopping) {  // it was told to die before it was born
    out_->push_back(agent_effect::KillRanks{started.job, started.attempt, SIGKILL});
    return;
  }
  agent_message::RanksStarted message{started.job, started.attempt, {}};
  for (const Rank& other : run->ranks) {
    if (other.state == Rank::State::kAsked) return;
    message.pids.push_back(other.pid);
  }
  send(std::move(message));
}

void AgentMachine::on(const agent_event::RankEnded& ended) {
  Run* run = find_run(ended.job, ended.attempt);
  if (run == nullptr) return;
  Rank* rank = run->find(ended.exit.rank);
  if (rank == nullptr || rank->state == Rank::State::kEnded) return;
  RankExit exit = ended.exit;
  exit.asked = run->stopping;
  if (const auto kill = oom_kills_.find(rank->pid);
      kill != oom_kills_.end() && rank->pid != 0 && exit.signal == SIGKILL) {
    exit.out_of_memory = true;
    exit.memory_peak_bytes = std::max(exit.memory_peak_bytes, kill->second);
  }
  rank->state = Rank::State::kEnded;
  ++run->ended;
  run->exits.push_back(exit);
  send(agent_message::RankExited{ended.job, ended.attempt, std::move(exit)});
  if (!run->stopping || !run->drained()) return;
  send(agent_message::AttemptDrained{ended.job, std::max(ended.attempt, run->stop_up_to)});
  if (run->next) begin(server_message::StartRanks(*run->next));
}

void AgentMachine::on(const agent_event::PageRead& read) {
  Run* run = find_run(read.job, read.attempt);
  if (run == nullptr) return;
  Rank* rank = run->find(read.progress.rank);
  if (rank == nullptr || rank->progress.same_as(read.progress)) return;
  const bool milestone = is_milestone(rank->progress, read.progress);
  rank->progress = read.progress;
  rank->sent = false;
  run->has_news = true;
  if (milestone) heartbeat();
}

void AgentMachine::on(const agent_event::KernelLine& line) {
  const std::optional<Fault> fault = read_kernel_line(line.line);
  if (!fault) return;
  if (fault->kind == "oom") {
    oom_kills_[fault->pid] = fault->used_bytes;
    if (oom_kills_.size() > kOomKillsKept) oom_kills_.erase(oom_kills_.begin());
  }
  if (condemns_node(*fault)) {
    condemning_faults_.push_back(*fault);
    if (condemning_faults_.size() > kFaultsKept) condemning_faults_.pop_front();
  }
  send(agent_message::FaultSeen{*fault});
}

void AgentMachine::tell(HealthWatch::News news) {
  for (Fault& fault : news.begun) send(agent_message::FaultSeen{std::move(fault), true});
  for (auto& [kind, device] : news.over)
    send(agent_message::FaultCleared{std::move(kind), std::move(device)});
}

// What condemned the node is cured; what is still there shows itself anew.
void AgentMachine::on(const agent_event::ResetDone& done) {
  if (done.ok) {
    condemning_faults_.clear();
    watch_.devices_reset();
  }
  send(agent_message::DevicesReset{done.ok, done.detail});
}

void AgentMachine::on(const agent_event::HeartbeatDue& due) {
  rendezvous_port_ = due.rendezvous_port;
  heartbeat();
}

void AgentMachine::heartbeat() {
  agent_message::Heartbeat message{.rendezvous_port = rendezvous_port_};
  for (auto& [job, run] : runs_) {
    if (run.drained()) continue;
    message.job = job;
    message.attempt = run.start.attempt;
    if (!std::exchange(run.has_news, false)) continue;
    for (Rank& rank : run.ranks) {
      if (rank.state == Rank::State::kAsked) run.has_news = true;  // once it runs
      if (rank.sent || rank.state != Rank::State::kRunning) continue;
      rank.sent = true;
      message.progress.push_back(rank.progress);
    }
  }
  send(std::move(message));
}

}  // namespace holdfast
