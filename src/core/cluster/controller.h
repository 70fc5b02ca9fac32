#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "core/checks/judge.h"
#include "core/schedule/node_index.h"
#include "model/cluster.h"
#include "model/event.h"

namespace holdfast {

// Limits of the recovery protocol. All have been chosen against what they wait for.
inline constexpr Duration kDrainTimeout =
    seconds(10);  // a rank that SIGKILL does not end by then is stuck in the kernel
inline constexpr Duration kStacksTimeout = seconds(3);
inline constexpr Duration kStartTimeout =
    minutes(3);  // importing a framework from a cold network disk
inline constexpr Duration kQuietTime =
    seconds(5);  // a job that makes no steps has recovered when it ran this long
inline constexpr Duration kStopGrace = seconds(5);
inline constexpr std::uint32_t kProvisioningFailuresMax = 3;
inline constexpr std::string_view kNoCapacity = "no capacity: ";  // of reasons
inline constexpr Duration kTokenLifetime = seconds(8ll * 3600);   // HyperPod's

// The control plane's core: nodes, places, spares, jobs, attempts, incidents, the circuit breaker.
//
//   step(now, event, out)  advances by one event. Total: never throws, blocks or reads a clock.
//                          `now` never decreases. A stale event (an old attempt, a node that is
//                          gone) changes nothing.
//
// The shell journals (now, event) durably before it carries out `out`, and replays the journal
// after a crash. Effects may then be carried out twice or not at all, so each is idempotent, and
// whatever a node missed is sent again when it says Hello: the controller tells it what it should
// be running, whatever was sent before.
//
// A recovery, in the order in which it happens:
//   first sign (a rank exits, a node is lost, a fault, a hang)  -> incident opened, ranks stopped
//   every node of the attempt drained or lost                   -> verdict, decision
//   places of bad nodes taken by spares, new attempt placed     -> ranks started
//   first step of the new attempt                               -> incident closed
// A further fault at any of these points extends the same incident.
//
// Invariants (checked by check_invariants() after every step in the tests):
//   a place is filled by at most one node; a node runs at most one job;
//   the nodes of a live attempt carry its job; an ended job holds no node;
//   a recovering job has an open incident; attempts only grow;
//   a node is held for deep checks exactly as long as a run of them has not ended, and works after
//   one only if it has passed;
//   what is derived from the state is what a scan of the state gives.
//
// No event costs a scan over all nodes, but those that concern all of them: a restart, the breaker,
// the end of a job or of the cluster.
class Controller {
 public:
  Controller() = default;
  explicit Controller(ClusterState recovered);
  Controller(Controller&&) = default;  // no copy: what is derived points into the state
  Controller& operator=(Controller&&) = default;

  void step(Instant now, const Event& event, Effects& out);

  // Whether a request can be accepted as things stand; step() ignores one that cannot. For
  // JobSubmitted, a token that was seen before is accepted and changes nothing.
  [[nodiscard]] Result<void> check(const Event& request) const;

  [[nodiscard]] const ClusterState& state() const { return state_; }
  [[nodiscard]] const NodeIndex& nodes() const { return index_; }
  // O(1): asked for with every heartbeat. nullptr: unknown.
  [[nodiscard]] const NodeRecord* node(NodeId id) const {
    return id.value < by_id_.size() ? by_id_[id.value] : nullptr;
  }
  [[nodiscard]] const std::set<JobId>& open_jobs() const { return open_jobs_; }  // not ended
  [[nodiscard]] const JobRecord* find_job(const std::string& name_or_id) const;
  // What a token has added; nullptr: it is not known, or not any more.
  [[nodiscard]] const Addition* find_addition(const std::string& token, Instant now) const;
  [[nodiscard]] const JobRecord* find_job_by_token(const std::string& token) const;
  // Of its group; nullptr: none.
  [[nodiscard]] const LifecycleScripts* scripts_of(const NodeRecord& node) const;
  // What it gets instead of the files of now; nullptr: those.
  [[nodiscard]] const LifecycleVersion* kept_version(const NodeRecord& node) const;
  // Whether SchedulesLookedAt{now} would do something. O(groups).
  [[nodiscard]] bool is_due(WallTime now) const;
  // Fingerprint of the whole state; costs O(state).
  [[nodiscard]] std::uint64_t digest() const;
  // The first broken invariant, for tests.
  [[nodiscard]] std::optional<std::string> check_invariants() const;

 private:
  // cluster.cc: nodes, places, spares, breaker
  void on(const event::ClusterMade& made);
  void on(const event::ServerStarted& started);
  void on(const event::NodeJoined& joined);
  void on(const event::NodesLost& lost);
  void on(const event::CapacityMissing& missing);
  void on(const event::NodeReplaceAsked& asked);
  void on(const event::NodeRebootAsked& asked);
  void on(const event::NodeAddAsked& asked);
  void on(const event::BreakerCloseAsked& asked);
  void on(const event::RendezvousMoved& moved);
  void on(const event::DownAsked& asked);
  // controller_groups.cc, controller_update.cc: what the cluster should be
  void on(const event::ClusterUpdateAsked& asked);
  void on(const event::NodesRemoveAsked& asked);
  void on(const event::SoftwareUpdateAsked& asked);
  // controller_schedule.cc: when it is updated by itself
  void on(const event::SchedulesLookedAt& looked);
  // controller_health.cc: a node that is ill
  void on(const event::NodeFault& fault);
  void on(const event::NodeFaultCleared& cleared);
  void on(const event::DevicesReset& done);
  // controller_jobs.cc: a job that runs
  void on(const event::JobSubmitted& submitted);
  void on(const event::JobStopAsked& asked);
  void on(const event::RanksStarted& started);
  void on(const event::Progressed& progressed);
  void on(const event::RankExited& exited);
  // controller_recovery.cc: a job that is in trouble
  void on(const event::AttemptDrained& drained);
  void on(const event::StacksCollected& collected);
  void on(const event::RanksStalled& stalled);
  void on(const event::TimerFired& fired);
  // controller_checks.cc: deep checks
  void on(const event::ChecksAsked& asked);
  void on(const event::CheckReported& reported);
  // controller_governance.cc: what teams may use
  void on(const event::GovernanceAsked& asked);
  [[nodiscard]] Result<void> check_governance_asked(const event::GovernanceAsked& asked) const;
  // controller_lifecycle.cc: the user's programs that make a machine a node
  void on(const event::LifecycleReported& reported);
  void on(const event::LifecycleFilesRead& read);
  // A machine that has come, or has come back: it works when its checks have passed.
  void admit(NodeRecord& node, const std::vector<CheckKind>& kinds, const std::string& by,
             const std::string& how);
  // What a check that runs must know of a node's fate; each of them is carried on by a timer.
  void checked_node_lost(NodeRecord& node, const std::string& reason, bool is_unwanted = false);
  void fault_in_check(NodeRecord& node, const Fault& fault);
  void checked_node_is_free(const NodeRecord& node) { check_soon(node.check); }
  void resend_check(const NodeRecord& node);

  // A machine that has come: it works when its lifecycle scripts and its checks have passed.
  void welcome_machine(NodeRecord& node);
  // Runs them from the start, on a machine that has no work.
  void begin_lifecycle(NodeRecord& node, const LifecycleScripts& scripts);
  void resend_lifecycle(NodeRecord& node, std::uint32_t cut_off);
  void on_lifecycle_late(const TimerId& timer);
  void fail_lifecycle(NodeRecord& node, const std::string& why, const std::string& log_tail);
  void start_over(NodeRecord& node, const std::string& reason, bool is_second_machine);
  [[nodiscard]] std::uint32_t version_of(const NodeRecord& node);
  [[nodiscard]] std::uint32_t usual_version(const GroupRecord& group);
  void forget_versions(GroupRecord& group);
  void forget_version_of(const NodeRecord& node);

  void hold(NodeRecord& node, CheckRun& run, bool is_partner);
  void check_soon(CheckId id);
  void advance(CheckRun& run);
  void begin_step_anew(CheckRun& run);
  CheckRun& make_run(const std::vector<CheckKind>& kinds, const std::string& by);
  [[nodiscard]] bool may_begin(const CheckRun& run) const;
  bool plan_links(CheckRun& run);
  void next_step(CheckRun& run);
  void start_step(CheckRun& run, const std::vector<std::vector<NodeId>>& groups);
  void miss_answers(CheckRun& run, const std::string& reason);
  void conclude(CheckRun& run);
  void fail_checks(NodeRecord& node, const CheckFinding& finding, const CheckRun& run);
  void forget_old_checks();
  void settle_node_incidents();
  [[nodiscard]] FleetValues fleet_values(const CheckRun& run) const;
  [[nodiscard]] Result<void> check_checks(const event::ChecksAsked& asked) const;

  [[nodiscard]] GroupRecord* find_group(std::uint32_t number);
  [[nodiscard]] const InstanceGroup* group_of(const NodeRecord& node) const;
  [[nodiscard]] const std::vector<CheckKind>& checks_on_start(const NodeRecord& node) const;
  void make_group(InstanceGroup& group);
  void add_places(const InstanceGroup& group, std::uint32_t count);
  void remove_places(std::uint32_t group, std::uint32_t count, const std::string& why);
  void trim_spares(std::uint32_t group, std::uint32_t wanted, const std::string& why);
  void give_back(NodeRecord& node, const std::string& why);
  // REQUIRES: nobody fills it.
  void drop_place(std::uint32_t group, std::uint32_t place);
  // 0: it has none, and leaves none.
  [[nodiscard]] std::uint32_t place_to_drop(const NodeRecord& node,
                                            const InstanceGroup& group) const;
  void forget_who_left(std::uint32_t place);
  void begin_scaling();
  void provisioning_failed(const NodeRecord& node, const std::string& reason);
  void provisioning_worked(const NodeRecord& node);
  void arm_capacity_limit();
  void arm_capacity_retry(std::uint32_t group);
  void on_capacity_timer(const TimerId& timer);
  // Of a provider that had no machine to give.
  void arm_no_capacity(GroupRecord& group);
  void ask_for_machines_again(std::uint32_t group);
  void capacity_is_back();
  void resume_groups();
  void set_phase(ClusterPhase to, const std::string& why);
  void give_up_phase(const std::string& why);
  void settle_phase();
  [[nodiscard]] Result<void> check_update(const event::SoftwareUpdateAsked& asked) const;
  void update_soon(Instant at);
  void advance_update();
  void take_batch(SoftwareUpdate& update);
  void update_over(NodeRecord& node, const std::string& reason);
  void heed_alarm(const std::string& kind, const std::string& text);
  [[nodiscard]] bool goes_back(const NodeRecord& node);
  void begin_rollback(SoftwareUpdate& update);
  void end_update();

  void add_node(std::uint32_t group, std::uint32_t place);
  // The only way to change what the index knows of a node.
  template <class Change>
  void change(NodeRecord& node, Change how) {
    index_.remove(node);
    how(node);
    index_.add(node);
  }
  void set_node(NodeRecord& node, NodeState to, std::string reason);
  void set_place(NodeRecord& node, std::uint32_t place);
  void set_holder(NodeRecord& node, JobId job);
  void set_job(JobRecord& job, JobState to);
  void lose_node(NodeRecord& node, const std::string& reason);
  void cordon_node(NodeRecord& node, const std::string& reason, const Evidence& evidence,
                   Action cure);
  void hold_back(NodeRecord& node);
  void retire_node(NodeRecord& node);
  void begin_repair(NodeRecord& node, Action action);
  void resend_repair(NodeRecord& node);
  void arm_repair(const NodeRecord& node);
  void on_repair_late(const TimerId& timer);
  void climb(NodeRecord& node, const std::string& why);
  void let_back(NodeRecord& node, const std::string& how);
  void fill_places();
  // REQUIRES: it has one.
  NodeRecord& best_spare(const NodeIndex::Group& group);
  void refill_pool();
  void refill(const InstanceGroup& group);
  [[nodiscard]] bool breaker_lets(const std::vector<NodeId>& bad);
  void reconcile(NodeRecord& node, const std::vector<AttemptReport>& reports);
  void resend_wanted(NodeRecord& node);
  void warm_up(const NodeRecord& node);

  void start_queued_jobs();
  void try_start(JobRecord& job);
  void choose_replicas(AttemptRecord& attempt);
  [[nodiscard]] std::vector<std::string> snapshot_sources(const JobRecord& job,
                                                          std::size_t group_rank) const;
  void send_start(const JobRecord& job, std::size_t group_rank);
  [[nodiscard]] Result<void> check_group(const JobSpec& spec) const;
  [[nodiscard]] static bool all_ended_well(const AttemptRecord& attempt);
  // It has made some, or its owner says that it does.
  [[nodiscard]] static bool makes_steps(const JobRecord& job) {
    return job.step_reached > 0 || job.spec.hang.first_step_max != Duration{};
  }
  void succeed(JobRecord& job);
  void end_job(JobRecord& job, JobState state, const std::string& reason, std::int32_t exit_code);
  void release_nodes(JobRecord& job);
  void note_progress(JobRecord& job, const RankProgress& progress, NodeId node);
  void grow_after_commit(JobRecord& job);

  void first_sign(JobRecord& job, const std::string& what);
  void begin_drain(JobRecord& job, Duration grace);
  void drained_or_gone(JobRecord& job, NodeId node);
  void conclude(JobRecord& job);
  [[nodiscard]] Verdict judge(JobRecord& job);
  [[nodiscard]] Action strongest_cure(const Verdict& verdict) const;
  std::uint32_t suspect(JobRecord& job, const Verdict& verdict);
  void move_away(JobRecord& job, const Verdict& verdict, std::uint32_t named,
                 const std::string& reason);
  void swap_out(NodeId node, const std::string& reason);
  IncidentRecord& open_incident(JobRecord& job);
  void mark(JobRecord& job, Phase phase);
  void tell(JobRecord& job, const std::string& line);
  void close_incident(JobRecord& job, IncidentState how);

  void audit(effect::Severity severity, std::string kind, std::string text, NodeId node = {},
             JobId job = {}, IncidentId incident = {});
  void send(NodeId node, ServerMessage message);
  void arm(TimerKind kind, const JobRecord& job, Duration after);
  [[nodiscard]] JobRecord* live_attempt(JobId job, Attempt attempt);
  [[nodiscard]] NodeRecord* find_node(NodeId node) {
    return node.value < by_id_.size() ? by_id_[node.value] : nullptr;
  }
  void index_node(NodeRecord& node);

  // What of a job's attempt has been heard, by rank: derived from its record.
  struct Heard {
    std::vector<bool> exited, stacks;
    friend bool operator==(const Heard&, const Heard&) = default;
  };
  static Heard heard_of(const JobRecord& job);
  // False: it was heard before, or there is no such rank.
  static bool hear(std::vector<bool>& heard, std::uint32_t rank);

  ClusterState state_;
  // Derived.
  NodeIndex index_;
  std::vector<NodeRecord*> by_id_;  // ids are given in order, so it is dense but for its first
  std::set<JobId> open_jobs_, queued_jobs_;
  std::map<JobId, Heard> heard_;  // of the open jobs
  // Of the step in progress.
  Instant now_;
  Effects* out_ = nullptr;
};

}  // namespace holdfast
