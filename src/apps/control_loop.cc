#include "apps/control_loop.h"

#include <chrono>
#include <thread>

#include <spdlog/spdlog.h>

#include "base/digest.h"
#include "model/codec.h"

namespace holdfast {
namespace {

constexpr std::uint64_t kEntriesPerSnapshot = 2000;
// When our own thread stood still for longer than this, the silence was ours and not the nodes'.
constexpr Duration kOwnPauseMax = seconds(1);

// What a step did, as a fingerprint: a later version that replays the entry and does something else
// must notice.
std::uint64_t digest_of(const Effects& effects) {
  Digest digest;
  for (const Effect& effect : effects) {
    digest.add(std::to_string(effect.index()));
    if (const auto* send = std::get_if<effect::Send>(&effect)) {
      digest.add(to_string(send->node));
      digest.add(std::to_string(send->message.index()));
    } else if (const auto* audit = std::get_if<effect::Audit>(&effect)) {
      digest.add(audit->kind);
    }
  }
  return digest.value();
}

}  // namespace

Result<std::unique_ptr<ControlLoop>> ControlLoop::recover(Journal& journal, World& world) {
  HF_TRY(Journal::Recovered recovered, journal.recover());
  std::unique_ptr<ControlLoop> loop(new ControlLoop(journal, world));
  if (recovered.snapshot) {
    HF_TRY(ClusterState state, decode_cluster_state(*recovered.snapshot));
    loop->controller_ = Controller(std::move(state));
  }
  loop->last_seq_ = loop->snapshot_seq_ = recovered.snapshot_seq;
  for (const Journal::Entry& entry : recovered.tail) {
    HF_TRY(const Event event, decode_event(entry.event));
    Effects effects;
    loop->controller_.step(entry.at, event, effects);
    if (digest_of(effects) != entry.effects_digest)
      return Error{
          Errc::kStateCorrupt,
          "journal entry " + std::to_string(entry.seq) +
              ": this version decides otherwise than the one that wrote it; start the "
              "version that wrote it once more, end it with `holdfast down`, then upgrade"};
    loop->last_seq_ = entry.seq;
  }
  const bool is_new = loop->last_seq_ == 0;
  loop->clock_.emplace(recovered.last_at, is_new ? wall_now() : recovered.last_wall);
  loop->last_turn_ = loop->now();
  HF_TRY(loop->last_note_, journal.last_note_id());
  if (!is_new) {
    loop->write_snapshot();
    loop->watch_members();
    loop->submit(event::ServerStarted{});
  }
  return loop;
}

// After a pause of our own every member gets a fresh start.
void ControlLoop::watch_members() {
  for (const auto& [id, node] : controller_.state().nodes)
    if (node.is_live() && !node.silent) liveness_.seen(id, now());
}

void ControlLoop::submit(Event event) {
  inbox_.push_back(std::move(event));
  if (turn_posted_) return;
  turn_posted_ = true;
  asio::post(context_, [this] { turn(); });
}

void ControlLoop::heard_of(NodeId id, const agent_message::Heartbeat* heartbeat) {
  const auto found = controller_.state().nodes.find(id);
  if (found == controller_.state().nodes.end() || !found->second.is_live()) return;
  liveness_.seen(id, now());
  if (heartbeat == nullptr) return;
  if (heartbeat->rendezvous_port != found->second.rendezvous_port)
    submit(event::RendezvousMoved{id, heartbeat->rendezvous_port});
  const auto job = controller_.state().jobs.find(heartbeat->job);
  if (job == controller_.state().jobs.end() || !job->second.is_live() ||
      job->second.attempt.number != heartbeat->attempt)
    return;
  for (const RankProgress& progress : heartbeat->progress)
    if (auto marked = progress_.seen(job->second, id, progress, now())) submit(std::move(*marked));
}

void ControlLoop::run() {
  arm();
  const auto work = asio::make_work_guard(context_);
  context_.run();
}

void ControlLoop::turn() {
  turn_posted_ = false;
  std::vector<Event> events;
  events.swap(inbox_);
  std::vector<Journal::Entry> entries;
  std::vector<Journal::Note> notes;
  Effects effects;
  for (Event& event : events) step(std::move(event), entries, notes, effects);
  append_or_wait(entries, notes);
  for (const Effect& effect : effects) perform(effect);
  if (!notes.empty()) {
    const std::lock_guard lock(note_mutex_);
    last_note_ += notes.size();
    note_written_.notify_all();
  }
  if (last_seq_ - snapshot_seq_ >= kEntriesPerSnapshot) write_snapshot();
  last_turn_ = now();
  arm();
}

void ControlLoop::step(Event event, std::vector<Journal::Entry>& entries,
                       std::vector<Journal::Note>& notes, Effects& effects) {
  const Instant at = now();
  const WallTime wall = wall_now();
  Effects out;
  controller_.step(at, event, out);
  entries.push_back({++last_seq_, at, wall, encode(event), digest_of(out)});
  if (const auto* joined = std::get_if<event::NodeJoined>(&event))
    liveness_.seen(joined->hello.node, at);
  if (const auto* exited = std::get_if<event::RankExited>(&event))
    progress_.ended(exited->job, exited->attempt, exited->exit.rank);
  for (Effect& effect : out) {
    if (const auto* audit = std::get_if<effect::Audit>(&effect)) {
      notes.push_back({wall, at, std::string(word_of(audit->severity)), audit->kind, audit->text,
                       audit->node.value, audit->job.value, audit->incident.value});
      spdlog::log(
          audit->severity == effect::Severity::kInfo ? spdlog::level::info : spdlog::level::warn,
          "{}: {}", audit->kind, audit->text);
    }
    effects.push_back(std::move(effect));
  }
}

// Nothing leaves before it is durable, so on a full disk the control plane stands still and the
// ranks go on; any other trouble with the journal ends the process, which is restarted.
void ControlLoop::append_or_wait(const std::vector<Journal::Entry>& entries,
                                 const std::vector<Journal::Note>& notes) {
  while (!entries.empty()) {
    const Result<void> written = journal_.append(entries, notes);
    if (written.ok()) return;
    if (written.error().code != Errc::kDiskFull) fatal(6, written.error().text());
    spdlog::error("{}; the control plane waits for space, training goes on",
                  written.error().text());
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

void ControlLoop::perform(const Effect& effect) {
  if (const auto* send = std::get_if<effect::Send>(&effect)) {
    world_.send(send->node, send->message);
    if (const auto* forget = std::get_if<server_message::ForgetJob>(&send->message))
      progress_.forget(forget->job);
  } else if (const auto* provision = std::get_if<effect::Provision>(&effect)) {
    world_.provision(provision->node);
  } else if (const auto* terminate = std::get_if<effect::Terminate>(&effect)) {
    liveness_.forget(terminate->node);
    world_.terminate(terminate->node);
  } else if (const auto* timer = std::get_if<effect::ArmTimer>(&effect)) {
    timers_[timer->timer] = timer->at;
  }
}

void ControlLoop::check_monitors() {
  const Instant at = now();
  if (at - last_turn_ > kOwnPauseMax && at - last_turn_ > kHeartbeatInterval * 3) {
    // Heard from nobody because we did not listen: judge after the queued messages are read.
    spdlog::warn("the control plane itself stood still for {} ms", (at - last_turn_).ms());
    watch_members();
  }
  last_turn_ = at;
  for (auto it = timers_.begin(); it != timers_.end();) {
    if (it->second > at) {
      ++it;
      continue;
    }
    submit(event::TimerFired{it->first});
    it = timers_.erase(it);
  }
  if (auto silent = liveness_.take_silent(at); !silent.empty())
    submit(event::NodesLost{std::move(silent),
                            "not heard of for " + std::to_string(kSilenceMax.ms()) + " ms"});
  for (event::RanksStalled& stalled : progress_.take_stalled(at)) submit(std::move(stalled));
}

void ControlLoop::arm() {
  // At least every half second, so that a pause of our own is told from a silence of others.
  Instant next = now() + milliseconds(500);
  for (const auto& [id, at] : timers_) next = std::min(next, at);
  if (const auto at = liveness_.next_deadline()) next = std::min(next, *at);
  if (const auto at = progress_.next_deadline()) next = std::min(next, *at);
  const Duration wait = std::max(Duration{}, next - now());
  timer_.expires_after(std::chrono::nanoseconds(wait.ns));
  timer_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    check_monitors();
    arm();
  });
}

void ControlLoop::write_snapshot() {
  const Result<void> written = journal_.snapshot(last_seq_, encode(controller_.state()));
  if (written.ok())
    snapshot_seq_ = last_seq_;
  else
    spdlog::error("no snapshot: {}", written.error().text());
}

void ControlLoop::wait_for_note(std::uint64_t after, Duration at_most) {
  std::unique_lock lock(note_mutex_);
  note_written_.wait_for(lock, std::chrono::nanoseconds(at_most.ns),
                         [&] { return last_note_ > after || released_; });
}

void ControlLoop::release_waiters() {
  const std::lock_guard lock(note_mutex_);
  released_ = true;
  note_written_.notify_all();
}

}  // namespace holdfast
