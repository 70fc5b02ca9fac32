#pragma once

// What must hold in every run, seen from outside: from what leaves the control plane, from what the
// machines really do, and from the state that a person is shown.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/cluster/controller.h"
#include "core/jobs/progress_monitor.h"
#include "sim/scenario.h"

namespace holdfast::sim {

class Checkers {
 public:
  using Report = std::function<void(const std::string& checker, const std::string& text)>;

  Checkers(const Scenario& scenario, Report report)
      : scenario_(scenario), report_(std::move(report)) {}

  // --- what the world does
  // A rank lives from now on.
  void born(NodeId node, JobId job, Attempt attempt, std::uint32_t rank);
  // All ranks of an attempt meet at one place.
  void told_to_meet(NodeId node, JobId job, Attempt attempt, const std::string& first,
                    const std::string& now);
  void died(NodeId node, JobId job, Attempt attempt, std::uint32_t rank);
  void node_ended(NodeId node);
  // `step` was read; the store's newest commit is `committed`.
  void restored(JobId job, Attempt attempt, std::uint64_t step, std::uint64_t committed);
  // A checkpoint of this attempt counts from now on.
  void committed(JobId job, Attempt attempt, std::uint64_t step);
  // Something was done to the machine that may look as if it were bad.
  void hurt(NodeId node) { hurt_.insert(node); }
  // Training of the job stands still since `now`, by a fault.
  // It shows by `shown_by`. `has_begun`: this attempt had made a step.
  void stopped(JobId job, Attempt attempt, bool has_begun, const std::string& fault, Instant now,
               Instant shown_by);

  // --- what the control plane does
  // After each step of it.
  void stepped(const Controller& controller, const Event& event, Instant now);
  void audited(const Controller& controller, const effect::Audit& audit, Instant now);
  void restarted(const Controller& controller, Instant now);
  // Every second or so.
  void swept(const Controller& controller, Instant now);
  // At the end, when nothing has gone wrong for long enough; `alive`: machines that run an agent.
  void settled(const Controller& controller, const std::vector<NodeId>& alive, Instant now);

 private:
  struct JobWatch {
    JobState state = JobState::kQueued;
    bool has_ended = false;
    Attempt attempt;
    std::uint64_t committed = 0;  // in the store
    std::uint64_t step = 0;       // furthest seen
    std::uint32_t fruitless = 0;  // attempts in a row without progress and without a fault
    bool faulted = false;         // something went wrong since the last attempt began
    std::string fault;            // waits for its decision
    Attempt hit;
    Instant decide_by;
  };
  void check_job(const JobRecord& job, const Controller& controller);
  void check_update(const Controller& controller);
  void check_start(const JobRecord& job, const Controller& controller);
  void check_left_out(const effect::Audit& audit, Instant now, const Controller& controller);
  // Of the nodes there are now: what differs from most of its group.
  [[nodiscard]] static std::set<NodeId> drifted(const ClusterState& state);
  void check_waiting(const JobRecord& job, const Controller& controller, Instant now);
  [[nodiscard]] bool is_member(NodeId node) const;
  [[nodiscard]] Duration decision_bound() const;

  const Scenario& scenario_;
  Report report_;
  // Ranks alive, by job, attempt and node.
  std::map<JobId, std::map<Attempt, std::map<NodeId, std::uint32_t>>> alive_;
  std::map<NodeId, std::map<std::pair<JobId, Attempt>, std::uint32_t>> on_node_;
  std::map<JobId, JobWatch> jobs_;
  std::set<NodeId> hurt_, joined_;
  std::set<NodeId> asked_out_;  // taken out by a person, and not back
  std::set<NodeId> out_;        // no members any more
  std::map<NodeId, Instant> cordoned_;
  std::deque<std::pair<Instant, NodeId>> taken_out_;
  std::optional<Instant> update_seen_;  // the end of the last one
  bool operator_acts_ = false;          // the event under way is a person's
};

}  // namespace holdfast::sim
