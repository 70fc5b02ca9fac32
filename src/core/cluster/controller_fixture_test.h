#pragma once

// What the controller's tests share.

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/cluster/controller.h"
#include "model/codec.h"

namespace holdfast {

inline constexpr JobId kJob{1};

// A controller, and short words for what happens to it. Every step is journaled and the invariants
// are checked; at the end the journal is replayed and must give the same state.
class ControllerTest : public testing::Test {
 protected:
  ~ControllerTest() override {
    Controller replayed;
    for (const auto& [at, text] : journal_) {
      const Result<Event> event = decode_event(text);
      EXPECT_TRUE(event.ok()) << text;
      Effects ignored;
      if (event.ok()) replayed.step(at, event.value(), ignored);
    }
    EXPECT_EQ(replayed.digest(), controller_.digest());
  }

  void step(const Event& event) {
    journal_.emplace_back(now_, encode(event));
    effects_.clear();
    controller_.step(now_, event, effects_);
    EXPECT_EQ(controller_.check_invariants(), std::nullopt);
    for (const Effect& effect : effects_) {
      if (const auto* timer = std::get_if<effect::ArmTimer>(&effect))
        timers_[timer->timer] = timer->at;
      const auto* audit = std::get_if<effect::Audit>(&effect);
      const bool is_alert = audit != nullptr && audit->severity == effect::Severity::kAlert;
      if (is_alert) {
        EXPECT_THAT(effect::kAlertKinds, testing::Contains(audit->kind)) << "people wait for it";
      }
    }
  }

  // --- nodes
  void make_cluster(ClusterSpec spec) {
    spec.name = "test";
    step(event::ClusterMade{spec});
    for (std::uint32_t n = 1; n <= spec.nodes() + spec.spares(); ++n) join(n);
  }
  void join(std::uint32_t n, std::vector<AttemptReport> attempts = {}) {
    step(event::NodeJoined{{.node = NodeId{n},
                            .address = "10.0.0." + std::to_string(n),
                            .rendezvous_port = 20000,
                            .snapshot_address = "10.0.0." + std::to_string(n) + ":1",
                            .attempts = std::move(attempts)}});
  }
  void lose(std::vector<std::uint32_t> nodes) {
    std::vector<NodeId> ids;
    for (const std::uint32_t n : nodes) ids.push_back(NodeId{n});
    step(event::NodesLost{ids, "not heard of for 2500 ms"});
  }
  void xid(std::uint32_t n, std::int32_t code, Action action) {
    step(event::NodeFault{NodeId{n},
                          {.kind = "xid",
                           .code = code,
                           .device = "0000:01:00",
                           .cause = CauseClass::kAccelerator,
                           .action = action,
                           .line = "NVRM: Xid"}});
  }
  const NodeRecord& node(std::uint32_t n) const { return controller_.state().nodes.at(NodeId{n}); }
  std::uint32_t place(std::uint32_t n) const { return node(n).place; }

  // --- jobs
  void submit(std::uint32_t nodes_min, std::uint32_t nodes_max, std::string name = "gpt") {
    JobSpec spec{.name = std::move(name), .nodes_min = nodes_min, .nodes_max = nodes_max};
    spec.command = {"python3", "train.py"};
    step(event::JobSubmitted{spec});
  }
  const JobRecord& job(JobId id = kJob) const { return controller_.state().jobs.at(id); }
  const AttemptRecord& attempt() const { return job().attempt; }
  const IncidentRecord& incident(std::uint32_t i = 1) const {
    return controller_.state().incidents.at(IncidentId{i});
  }
  void ranks_started(JobId id = kJob) {
    const Attempt number = job(id).attempt.number;
    for (const NodeId n : std::vector(job(id).attempt.nodes))
      step(event::RanksStarted{n, {id, number, {}}});
  }
  void progress(std::uint64_t step_number, std::uint64_t this_attempt,
                std::optional<std::uint64_t> committed = {},
                std::optional<std::uint64_t> restored = {}) {
    RankProgress page{.step = step_number, .steps_this_attempt = this_attempt};
    page.committed_step = committed;
    page.restored_step = restored;
    step(event::Progressed{kJob, attempt().number, attempt().nodes.front(), page});
  }
  // The job runs on its nodes and has made `steps` steps.
  void run_to(std::uint64_t steps) {
    ranks_started();
    progress(steps, 1);
  }
  void exit_rank(std::uint32_t rank, RankExit exit) {
    exit.rank = rank;
    exit.progress.rank = rank;
    exit.progress.step = std::max(exit.progress.step, job().attempt.step);
    step(event::RankExited{attempt().nodes.at(rank), kJob, attempt().number, exit});
  }
  void drain(std::uint32_t n) { step(event::AttemptDrained{NodeId{n}, kJob, attempt().number}); }
  void drain_all(JobId id = kJob) {
    const Attempt number = job(id).attempt.number;
    for (const NodeId n : std::set(job(id).attempt.not_drained))
      step(event::AttemptDrained{n, id, number});
  }
  void fire(TimerKind kind) {
    const TimerId timer{kind, kJob, attempt().number};
    ASSERT_TRUE(timers_.contains(timer)) << word_of(kind);
    now_ = std::max(now_, timers_.at(timer));
    step(event::TimerFired{timer});
  }
  // Rank 0 raises, all drain.
  void raise_and_drain(std::string type) {
    exit_rank(0, {.code = 1, .error_type = std::move(type), .error_message = "in train.py"});
    drain_all();
  }

  // --- effects of the last step
  template <class Message>
  std::vector<std::uint32_t> told() const {
    std::vector<std::uint32_t> nodes;
    for (const Effect& effect : effects_)
      if (const auto* send = std::get_if<effect::Send>(&effect);
          send != nullptr && std::holds_alternative<Message>(send->message))
        nodes.push_back(send->node.value);
    return nodes;
  }
  template <class Message>
  std::vector<Message> sent_to(std::uint32_t n) const {
    std::vector<Message> messages;
    for (const Effect& effect : effects_)
      if (const auto* send = std::get_if<effect::Send>(&effect);
          send != nullptr && send->node == NodeId{n} &&
          std::holds_alternative<Message>(send->message))
        messages.push_back(std::get<Message>(send->message));
    return messages;
  }
  template <class What>
  std::vector<std::uint32_t> asked() const {
    std::vector<std::uint32_t> nodes;
    for (const Effect& effect : effects_)
      if (const auto* one = std::get_if<What>(&effect)) nodes.push_back(one->node.value);
    return nodes;
  }
  std::string audit(const std::string& kind) const {
    for (const Effect& effect : effects_)
      if (const auto* one = std::get_if<effect::Audit>(&effect);
          one != nullptr && one->kind == kind)
        return one->text;
    return {};
  }
  std::vector<std::uint32_t> started() const { return told<server_message::StartRanks>(); }
  std::vector<std::uint32_t> stopped() const { return told<server_message::StopRanks>(); }

  Controller controller_;
  Instant now_ = Instant{} + seconds(1);
  Effects effects_;
  std::map<TimerId, Instant> timers_;
  std::vector<std::pair<Instant, std::string>> journal_;
};

// A job on all four nodes of a cluster with one spare, at step 100.
class RunningJobTest : public ControllerTest {
 protected:
  RunningJobTest() {
    make_cluster({.groups = one_group(4, 1)});
    submit(4, 4);
    run_to(100);
  }
};

}  // namespace holdfast
