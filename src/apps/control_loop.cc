#include "apps/control_loop.h"

#include <chrono>
#include <thread>

#include <spdlog/spdlog.h>

#include "model/codec.h"

namespace holdfast {
namespace {

constexpr std::uint64_t kEntriesPerSnapshot = 2000;

Journal::Note note_of(const effect::Audit& audit, Instant at, WallTime wall) {
  return {wall,
          at,
          std::string(word_of(audit.severity)),
          audit.kind,
          audit.text,
          audit.node.value,
          audit.job.value,
          audit.incident.value};
}

}  // namespace

Result<std::unique_ptr<ControlLoop>> ControlLoop::recover(Journal& journal, World& world) {
  HF_TRY(Journal::Recovered recovered, journal.recover());
  std::unique_ptr<ControlLoop> loop(new ControlLoop(journal, world));
  if (recovered.snapshot) {
    HF_TRY(ClusterState state, decode_cluster_state(*recovered.snapshot));
    loop->machine_.restore(std::move(state));
  }
  loop->last_seq_ = loop->snapshot_seq_ = recovered.snapshot_seq;
  for (const Journal::Entry& entry : recovered.tail) {
    HF_TRY(const Event event, decode_event(entry.event));
    if (loop->machine_.replay(entry.at, event) != entry.effects_digest)
      return Error{
          Errc::kStateCorrupt,
          "journal entry " + std::to_string(entry.seq) +
              ": this version decides otherwise than the one that wrote it; start the "
              "version that wrote it once more, end it with `holdfast down`, then upgrade"};
    loop->last_seq_ = entry.seq;
  }
  const bool is_new = loop->last_seq_ == 0;
  loop->clock_.emplace(recovered.last_at, is_new ? wall_now() : recovered.last_wall);
  HF_TRY(loop->last_note_, journal.last_note_id());
  if (!is_new) {
    loop->write_snapshot();
    loop->machine_.recovered(loop->now());
    loop->post_turn();
  }
  return loop;
}

void ControlLoop::submit(Event event) {
  machine_.submit(std::move(event));
  post_turn();
}

void ControlLoop::take(NodeId node, AgentMessage message) {
  machine_.take(now(), node, std::move(message));
  if (machine_.has_input()) post_turn();
}

void ControlLoop::post_turn() {
  if (turn_posted_) return;
  turn_posted_ = true;
  asio::post(context_, [this] { turn(); });
}

void ControlLoop::run() {
  arm();
  const auto work = asio::make_work_guard(context_);
  context_.run();
}

void ControlLoop::turn() {
  turn_posted_ = false;
  const WallTime wall = wall_now();
  std::vector<Journal::Entry> entries;
  std::vector<Journal::Note> notes;
  for (const ServerMachine::Entry& entry : machine_.turn(now())) {
    entries.push_back({++last_seq_, entry.at, wall, encode(entry.event), entry.effects_digest});
    for (const effect::Audit& audit : entry.audits) {
      notes.push_back(note_of(audit, entry.at, wall));
      const bool usual = audit.severity == effect::Severity::kInfo;
      spdlog::log(usual ? spdlog::level::info : spdlog::level::warn, "{}: {}", audit.kind,
                  audit.text);
    }
  }
  append_or_wait(entries, notes);
  for (const Effect& effect : machine_.durable(now())) perform(effect);
  if (!notes.empty()) {
    const std::lock_guard lock(note_mutex_);
    last_note_ += notes.size();
    note_written_.notify_all();
  }
  if (last_seq_ - snapshot_seq_ >= kEntriesPerSnapshot) write_snapshot();
  arm();
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
  if (const auto* send = std::get_if<effect::Send>(&effect))
    world_.send(send->node, send->message);
  else if (const auto* provision = std::get_if<effect::Provision>(&effect))
    world_.provision(provision->node);
  else if (const auto* terminate = std::get_if<effect::Terminate>(&effect))
    world_.terminate(terminate->node);
  else if (const auto* reboot = std::get_if<effect::Reboot>(&effect))
    world_.reboot(reboot->node);
  else if (const auto* evidence = std::get_if<effect::KeepEvidence>(&effect))
    world_.keep(*evidence);
}

void ControlLoop::arm() {
  const Duration wait = std::max(Duration{}, machine_.next_look() - now());
  timer_.expires_after(std::chrono::nanoseconds(wait.ns));
  timer_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    machine_.look(now());
    if (machine_.has_input()) post_turn();
    arm();
  });
}

void ControlLoop::write_snapshot() {
  const Result<void> written = journal_.snapshot(last_seq_, encode(controller().state()));
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
