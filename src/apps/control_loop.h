#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "core/cluster/server_machine.h"
#include "io/clock.h"
#include "io/journal.h"

namespace holdfast {

// The one thread on which the control plane decides: the machine's clock, journal and timer. Events
// are gathered for a turn, stepped, journaled in one transaction, and only then do their effects
// leave.
class ControlLoop {
 public:
  // Carries out effects, on the loop's thread. Must not block.
  struct World {
    virtual ~World() = default;
    virtual void send(NodeId node, const ServerMessage& message) = 0;
    virtual void provision(NodeId node) = 0;
    virtual void terminate(NodeId node) = 0;
    virtual void reboot(NodeId node) = 0;
    virtual void keep(const effect::KeepEvidence& evidence) = 0;
  };

  // `journal` and `world` outlive the loop. Replays what the journal holds; kStateCorrupt when the
  // replay decides otherwise than the journal says that we did.
  static Result<std::unique_ptr<ControlLoop>> recover(Journal& journal, World& world);

  // Events come from the loop's own thread, or through post().
  void submit(Event event);
  // What an agent said.
  void take(NodeId node, AgentMessage message);
  // Does at once what was submitted, so that the caller can see what came of it.
  void take_turn() { turn(); }

  // Runs `work` on the loop's thread, soon. Any thread.
  void post(std::function<void()> work) { asio::post(context_, std::move(work)); }
  // Runs `work` there and waits for its result. Any other thread.
  template <class Work>
  auto call(Work work) -> decltype(work()) {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto result = task.get_future();
    asio::post(context_, [&task] { task(); });
    return result.get();
  }

  void run();  // until stop()
  void stop() { context_.stop(); }
  asio::io_context& context() { return context_; }

  // On the loop's thread.
  [[nodiscard]] const Controller& controller() const { return machine_.controller(); }
  [[nodiscard]] const ProgressMonitor& progress() const { return machine_.progress(); }
  [[nodiscard]] Instant now() const { return clock_->now(); }
  void write_snapshot();

  // Any thread: waits until there is a note newer than `after`, or for `at_most`.
  void wait_for_note(std::uint64_t after, Duration at_most);
  void release_waiters();

 private:
  ControlLoop(Journal& journal, World& world) : journal_(journal), world_(world) {}

  void turn();
  void post_turn();
  void append_or_wait(const std::vector<Journal::Entry>& entries,
                      const std::vector<Journal::Note>& notes);
  void perform(const Effect& effect);
  void arm();

  Journal& journal_;
  World& world_;
  ServerMachine machine_;
  std::optional<ClusterClock> clock_;
  bool turn_posted_ = false;
  std::uint64_t last_seq_ = 0;
  std::uint64_t snapshot_seq_ = 0;

  std::mutex note_mutex_;
  std::condition_variable note_written_;
  std::uint64_t last_note_ = 0;  // guarded by note_mutex_
  bool released_ = false;        // guarded by note_mutex_

  asio::io_context context_{1};
  asio::steady_timer timer_{context_};
};

}  // namespace holdfast
