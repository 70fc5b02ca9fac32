#pragma once

// The fields of every value that is written down: one table for reading, writing and whatever else
// walks over a value (the tests fill values with it). A field that a struct has and its line here
// has not does not compile.
//
//   struct Archive { template <class T> void operator()(std::string_view name, T& field); };
//   fields(archive, value);   // calls archive once per field, also for a const value

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>

#include "model/cluster.h"
#include "model/enum_text.h"
#include "model/event.h"
#include "model/readings.h"

namespace holdfast {

template <class T, class Value>
concept MaybeConst = std::same_as<std::remove_const_t<T>, Value>;

// HF_EACH_FIELD(a, b, c) is HF_FIELD(a) HF_FIELD(b) HF_FIELD(c), for up to 64 fields.
#define HF_FIELD(name) archive(#name, hf_value.name);
#define HF_PARENS ()
#define HF_EXPAND(...) HF_EXPAND2(HF_EXPAND2(HF_EXPAND2(HF_EXPAND2(__VA_ARGS__))))
#define HF_EXPAND2(...) HF_EXPAND1(HF_EXPAND1(HF_EXPAND1(HF_EXPAND1(__VA_ARGS__))))
#define HF_EXPAND1(...) HF_EXPAND0(HF_EXPAND0(HF_EXPAND0(HF_EXPAND0(__VA_ARGS__))))
#define HF_EXPAND0(...) __VA_ARGS__
#define HF_FIRST_FIELD(name, ...) HF_FIELD(name) __VA_OPT__(HF_NEXT_FIELD HF_PARENS(__VA_ARGS__))
#define HF_NEXT_FIELD() HF_FIRST_FIELD
#define HF_EACH_FIELD(...) HF_EXPAND(HF_FIRST_FIELD(__VA_ARGS__))

// The structured binding is there for its count: it fails to compile when a field is left out.
#define HF_FIELDS(Type, ...)                                       \
  template <class Archive>                                         \
  void fields(Archive& archive, MaybeConst<Type> auto& hf_value) { \
    [[maybe_unused]] auto& [__VA_ARGS__] = hf_value;               \
    HF_EACH_FIELD(__VA_ARGS__)                                     \
  }

// The same for an alternative of Event, with the word that names it in the journal.
template <class Alternative>
inline constexpr std::string_view kTag = "";
#define HF_EVENT(tag, Type, ...)                      \
  template <>                                         \
  inline constexpr std::string_view kTag<Type> = tag; \
  HF_FIELDS(Type, __VA_ARGS__)

// Fields that a snapshot of before they were there lacks: they have their defaults then, which must
// say what was true. So a cluster goes on with a newer program.
template <class T>
inline constexpr std::array<std::string_view, 0> kNewerFields{};
template <>
inline constexpr auto kNewerFields<NodeRecord> = std::to_array<std::string_view>({"left_place",
                                                                                  "no_capacity"});
template <>
inline constexpr auto kNewerFields<GroupRecord> =
    std::to_array<std::string_view>({"tries_without_capacity"});
template <>
inline constexpr auto kNewerFields<ClusterState> = std::to_array<std::string_view>({"scalings_made",
                                                                                    "scalings"});

// clang-format off
HF_FIELDS(Fault, kind, code, device, pid, used_bytes, cause, action, line)
HF_FIELDS(NodeFault, fault, first, last, times, present)
HF_FIELDS(Repair, action, kind, device, at)
HF_FIELDS(NodeHealth, faults, repairs, repairs_made, due, due_for)
HF_FIELDS(Evidence, what, node, rank, at, cause)
HF_FIELDS(Verdict, cause, action, confidence, summary, nodes, ranks, evidence)

HF_FIELDS(CheckResult, test, node, peer, verdict, action, value, unit, less_is_better, threshold,
          reason, log, took)
HF_FIELDS(CheckFloor, instance_type, test, value)
HF_FIELDS(DeepChecks, on_start, after_repair, scripts, load, test_budget, budget, floors)
HF_FIELDS(CheckStep, test, round, only)
HF_FIELDS(CheckMember, node, is_partner, status, reason)
HF_FIELDS(CheckRun, id, by, kinds, state, asked, began, ended, members, steps, step, step_ends,
          begun_anew, is_confirming, waiting_for, results)

HF_FIELDS(RankProgress, rank, step, steps_this_attempt, loss, tokens, median_step_ns, restored_step,
          committed_step, checkpoint_failures, checkpoint_error)
HF_FIELDS(RankExit, rank, code, signal, asked, error_type, error_message, traceback, log_tail,
          memory_peak_bytes, memory_limit_bytes, out_of_memory, progress)
HF_FIELDS(Location, spine, rack, host)
HF_FIELDS(AttemptReport, job, attempt, drained, running, exited)
HF_FIELDS(agent_message::Hello, node, address, rendezvous_port, pid, cpus, memory_bytes,
          snapshot_address, software, instance_type, location, lifecycle_cut_off, attempts)
HF_FIELDS(agent_message::RanksStarted, job, attempt, pids)
HF_FIELDS(agent_message::CheckReport, check, step, results)
HF_FIELDS(agent_message::LifecycleReported, run, ok, tries, reason, log_tail)
HF_FIELDS(agent_message::StacksCollected, job, attempt, rank, answered, process_state, text)

HF_FIELDS(CheckpointSpec, folder, interval_steps, keep, keep_every, budget_bytes)
HF_FIELDS(RetryPolicy, attempts_without_progress_max)
HF_FIELDS(HangPolicy, stall_min, stall_factor, first_step_max)
HF_FIELDS(JobSpec, name, owner, team, nodes_min, nodes_max, ranks_per_node, instance_group,
          allow_drifted, command, environment, working_folder, checkpoint, retry, hang,
          memory_limit_bytes, request_token)
HF_FIELDS(AttemptRecord, number, started, nodes, replicas, master_address, master_port,
          ranks_per_node, not_started, not_drained, exits, nodes_lost, node_faults, planned,
          collecting_stacks, stacks, stalled, made_step, step, restored_step)
HF_FIELDS(SnapshotHolders, nodes, replicas)
HF_FIELDS(Suspicion, node, rank, at)
HF_FIELDS(JobRecord, id, spec, state, reason, submitted, ended, not_before, snapshots, attempt,
          step_reached, committed_step, attempts_without_progress, out_of_memory_without_progress,
          suspicions, checkpoint_failures, checkpoints_fail, incident, last_verdict, exit_code)

HF_FIELDS(StoryLine, at, text)
HF_FIELDS(IncidentRecord, id, job, state, phases, verdicts, first_attempt, last_attempt,
          step_reached, restored_step, steps_lost, story)

HF_FIELDS(NodeLifecycle, status, run, cut_offs, is_second_machine, failure)
HF_FIELDS(NodeRecord, id, state, group, place, left_place, reason, silent, since, made, updated,
          updating, no_capacity, address, location, rendezvous_port, pid, cpus, memory_bytes,
          snapshot_address, job, health, software, instance_type, check, check_status, lifecycle)
HF_FIELDS(LifecycleScripts, source, on_create, on_init_complete)
HF_FIELDS(BatchSize, nodes, percent)
HF_FIELDS(Deployment, batch, rollback_batch, wait, alarms)
HF_FIELDS(UpdateSchedule, expression, deployment)
HF_FIELDS(InstanceGroup, number, name, count, count_min, spares, instance_types, lifecycle,
          checks_on_start, schedule, specification)
HF_FIELDS(LifecycleVersion, number, files, scripts, nodes)
HF_FIELDS(GroupRecord, number, places, provisioning_failures, tries_without_capacity, failure,
          versions_made, versions, former_version, kept_version, next_update)
HF_FIELDS(ScalingTarget, group, count, count_min)
HF_FIELDS(Scaling, number, asked, state, targets)
HF_FIELDS(Addition, request, at, places)
HF_FIELDS(SoftwareUpdate, state, by, groups, deployment, batch, rollback_batch, began, ended,
          next_at, failure, pending, under_way, updated, failed, not_touched, went_back, stayed)
HF_FIELDS(ClusterSpec, name, id, created, groups, recovers_nodes, is_continuous, specification,
          machines_max, breaker_percent, breaker_window, heartbeat_interval,
          silence_max, checks)
HF_FIELDS(Breaker::Mark, node, at)
HF_FIELDS(Breaker, open, since, recent)
HF_FIELDS(GovernanceVersion, number, description, config, target, team, is_active, modified,
          modified_by)
HF_FIELDS(GovernanceRecord, kind, id, cluster, name, created, created_by, versions)
HF_FIELDS(GovernanceState, records)
HF_FIELDS(GovernanceChange, action, kind, id, cluster, name, target_version, description, config,
          target, team, is_active)
HF_FIELDS(ClusterState, spec, down, phase, failure, groups_made, places_made, groups,
          additions, scalings_made, scalings, software_update, nodes_made, jobs_made,
          incidents_made, checks_made, nodes, jobs, incidents, checks, breaker, governance)

HF_FIELDS(NvlinkReading, link, active, replays, recoveries, crc_errors)
HF_FIELDS(DeviceReading, index, pci, name, uuid, vbios, error, ecc_corrected_volatile,
          ecc_uncorrected_volatile, ecc_corrected_aggregate, ecc_uncorrected_aggregate,
          rows_remapped_corrected, rows_remapped_uncorrected, rows_pending, rows_failed,
          pages_retired, pages_pending, clock_reasons, temperature_c, slowdown_c, shutdown_c,
          power_mw, power_limit_mw, pcie_generation, pcie_generation_max, pcie_width,
          pcie_width_max, pcie_replays, performance_state, recovery_action, links)
HF_FIELDS(DcgmIncident, entity, gpu, system, failure, text)
HF_FIELDS(DevicesReading, has_library, error, error_text, driver, devices, dcgm)
HF_FIELDS(MountReading, path, device, read_only, bytes, bytes_free, inodes, inodes_free)
HF_FIELDS(InterfaceReading, name, up, downs, errors)
HF_FIELDS(DriveReading, name, state, critical_warning, spare_percent, spare_percent_min,
          used_percent)
HF_FIELDS(BlockedProcess, pid, name, waits_in)
HF_FIELDS(HostReading, memory_bytes, memory_available_bytes, memory_stall, io_stall, blocked,
          zombies, mounts, clock_synchronized, clock_offset_ns, interfaces, drives, pci_devices)

HF_FIELDS(TimerId, kind, job, attempt, node, check)
HF_EVENT("cluster_made", event::ClusterMade, spec)
HF_EVENT("node_joined", event::NodeJoined, hello)
HF_EVENT("nodes_lost", event::NodesLost, nodes, reason, ended)
HF_EVENT("capacity_missing", event::CapacityMissing, nodes, reason)
HF_EVENT("node_fault", event::NodeFault, node, fault, present)
HF_EVENT("node_fault_cleared", event::NodeFaultCleared, node, kind, device)
HF_EVENT("devices_reset", event::DevicesReset, node, ok, detail)
HF_EVENT("ranks_started", event::RanksStarted, node, started)
HF_EVENT("rank_exited", event::RankExited, node, job, attempt, exit)
HF_EVENT("attempt_drained", event::AttemptDrained, node, job, attempt)
HF_EVENT("stacks_collected", event::StacksCollected, node, stacks)
HF_EVENT("progressed", event::Progressed, job, attempt, node, progress)
HF_EVENT("ranks_stalled", event::RanksStalled, job, attempt, ranks, for_at_least)
HF_EVENT("timer_fired", event::TimerFired, timer)
HF_EVENT("job_submitted", event::JobSubmitted, spec)
HF_EVENT("job_stop_asked", event::JobStopAsked, job, by)
HF_EVENT("node_replace_asked", event::NodeReplaceAsked, node, by)
HF_EVENT("node_add_asked", event::NodeAddAsked, by)
HF_EVENT("breaker_close_asked", event::BreakerCloseAsked, by)
HF_EVENT("rendezvous_moved", event::RendezvousMoved, node, port)
HF_EVENT("checks_asked", event::ChecksAsked, nodes, kinds, drain, by)
HF_EVENT("check_reported", event::CheckReported, node, report)
HF_EVENT("cluster_update_asked", event::ClusterUpdateAsked, spec, by, token, request)
HF_EVENT("nodes_remove_asked", event::NodesRemoveAsked, nodes, by)
HF_EVENT("node_reboot_asked", event::NodeRebootAsked, node, by)
HF_EVENT("software_update_asked", event::SoftwareUpdateAsked, groups, deployment, by)
HF_EVENT("schedules_looked_at", event::SchedulesLookedAt, now)
HF_EVENT("lifecycle_files_read", event::LifecycleFilesRead, node, run, files, error)
HF_EVENT("governance_asked", event::GovernanceAsked, change, at, by)
HF_EVENT("lifecycle_reported", event::LifecycleReported, node, report)
HF_EVENT("down_asked", event::DownAsked, by)
// clang-format on

template <>
inline constexpr std::string_view kTag<event::ServerStarted> = "server_started";
template <class Archive>
void fields(Archive&, MaybeConst<event::ServerStarted> auto&) {}

using PhaseTimes = decltype(IncidentRecord::phases);
template <class Archive>
void fields(Archive& archive, MaybeConst<PhaseTimes> auto& value) {
  for (std::size_t i = 0; i < value.size(); ++i) archive(word_of(static_cast<Phase>(i)), value[i]);
}

template <class T>
concept HasFields = requires(T& value, void (&archive)(...)) {
  fields(archive, value);
};

}  // namespace holdfast
