#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "core/cluster/controller.h"
#include "core/health/liveness.h"
#include "core/jobs/progress_monitor.h"

namespace holdfast {

// All of the control plane that decides: the controller, the monitors beside it, and the timers.
// The shell brings messages, requests and the time, keeps the journal and carries out effects.
//
//   take(), submit(), look()   may leave events in the inbox
//   turn(now)                  steps them; the entries that it returns must become durable
//   durable(now)               they are: the effects, which may leave only now
//
// Effects wait here and not in the shell, so that what another process has seen of us is never
// forgotten by a crash, whatever shell it is. Same contract as the Controller: total, no clock,
// `now` never decreases.
class ServerMachine {
 public:
  // An input as it goes to the journal, and what it led to.
  struct Entry {
    Instant at;
    Event event;
    std::uint64_t effects_digest = 0;
    std::vector<effect::Audit> audits;
  };

  // At least so often the shell calls look(), so that a pause of its own is told from a silence of
  // others.
  static constexpr Duration kLookInterval = milliseconds(500);
  // Not called for longer than this: we stood still, so the silence was ours and not the nodes'.
  static constexpr Duration kOwnPauseMax = milliseconds(1500);

  // Starts from a snapshot, which replay() brings up to date. REQUIRES: nothing came before.
  void restore(ClusterState snapshot) { controller_ = Controller(std::move(snapshot)); }
  // Steps an entry of the journal again; the digest of its effects, to compare with the entry's.
  std::uint64_t replay(Instant at, const Event& event);
  // The journal is replayed: every member gets a fresh start and what was in flight is asked again.
  void recovered(Instant now);

  // An input that is no message of an agent: a request of a person, news of a machine.
  void submit(Event event) { inbox_.push_back(std::move(event)); }
  // A node spoke. Log chunks are the shell's; here they are a sign of life.
  void take(Instant now, NodeId node, AgentMessage message);
  void heard_of(Instant now, NodeId node, const agent_message::Heartbeat* heartbeat);
  // Timers and monitors.
  void look(Instant now);
  // When look() is wanted next.
  [[nodiscard]] Instant next_look() const;
  // The same without kLookInterval and without who is silent: nothing happens by itself before it.
  [[nodiscard]] std::optional<Instant> next_timer() const;

  [[nodiscard]] bool has_input() const { return !inbox_.empty(); }
  [[nodiscard]] std::vector<Entry> turn(Instant now);
  // Send, Provision and Terminate only. REQUIRES: all entries of turn() are durable.
  [[nodiscard]] Effects durable(Instant now);

  [[nodiscard]] const Controller& controller() const { return controller_; }
  [[nodiscard]] const ProgressMonitor& progress() const { return progress_; }

 private:
  void awake(Instant now);
  void watch_members(Instant now);
  void absorb(const Event& event, Instant at);

  Controller controller_;
  LivenessMonitor liveness_{ClusterSpec{}.silence_max};
  ProgressMonitor progress_;
  std::map<TimerId, Instant> timers_;
  std::vector<Event> inbox_;
  Effects waiting_;  // for durable()
  Instant last_awake_;
};

}  // namespace holdfast
