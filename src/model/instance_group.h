#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/check.h"
#include "model/enum_text.h"

namespace holdfast {

// Programs of the user's that make a fresh machine a node of its group.
struct LifecycleScripts {
  std::string source;            // a folder of the control plane's host, or s3://BUCKET/PREFIX
  std::string on_create;         // the program in it that runs; empty: none
  std::string on_init_complete;  // likewise, afterwards; HyperPod knows either, here both may be

  friend bool operator==(const LifecycleScripts&, const LifecycleScripts&) = default;
};

// How many nodes at a time, by number or by share; both 0: nobody said.
struct BatchSize {
  std::uint32_t nodes = 0, percent = 0;

  friend bool operator==(const BatchSize&, const BatchSize&) = default;
};

// How a software update goes through a group: HyperPod's DeploymentConfig.
struct Deployment {
  BatchSize batch, rollback_batch;
  Duration wait;                    // from the end of a batch to the next
  std::vector<std::string> alarms;  // kAlertKinds (model/event.h): one that is raised rolls back

  friend bool operator==(const Deployment&, const Deployment&) = default;
};

// When a group's software is updated without anybody asking.
struct UpdateSchedule {
  std::string expression;  // see model/cron.h; valid
  Deployment deployment;

  friend bool operator==(const UpdateSchedule&, const UpdateSchedule&) = default;
};

// Nodes that are alike: what a cluster is made of.
struct InstanceGroup {
  std::uint32_t number = 0;  // given by the controller, for ever; 0: not yet
  std::string name;
  std::uint32_t count = 0;      // places that jobs may use
  std::uint32_t count_min = 0;  // so many filled ones are enough for the group to be in service
  std::uint32_t spares = 0;     // healthy nodes besides, held in its warm pool
  std::vector<std::string> instance_types;  // in order of preference, as the provider knows them
  LifecycleScripts lifecycle;
  std::vector<CheckKind> checks_on_start;  // deep checks of each machine that comes
  std::optional<UpdateSchedule> schedule;
  // The JSON object that asked for it, for what is only kept and shown (roles, volumes, networks,
  // images, labels); what has a field above is read from there.
  std::string specification;
};

// The one group of a cluster that nobody has divided: "workers".
[[nodiscard]] std::vector<InstanceGroup> one_group(std::uint32_t count, std::uint32_t spares = 0);

// Lifecycle scripts with their files as they were at one time, and who has been given them last.
struct LifecycleVersion {
  std::uint32_t number = 0;  // of the group's, from 1
  std::string files;         // SHA-256 of their pack, in hex: its name in the state folder
  LifecycleScripts scripts;
  std::set<NodeId> nodes;
};

inline constexpr WallTime kNever{INT64_MAX};

// What became of a wish for a group.
struct GroupRecord {
  std::uint32_t number = 0;        // see InstanceGroup
  std::set<std::uint32_t> places;  // numbers that no other group of the cluster has or gets
  std::uint32_t provisioning_failures = 0;   // in a row; it is not refilled after too many
  std::uint32_t tries_without_capacity = 0;  // of its provider, in a row
  std::string failure;              // why it is not what it should be; empty: nothing is known
  std::uint32_t versions_made = 0;  // also the last number given
  std::vector<LifecycleVersion> versions;  // those that a node has, or may be given again
  std::uint32_t former_version = 0;        // before the update under way, or the last one; 0: none
  std::uint32_t kept_version = 0;  // what nodes are given since an update was rolled back; 0: the
                                   // files of now
  WallTime next_update;            // by its schedule; zero: not looked at yet
};

// A request to add nodes that bore a token: asked for again within kTokenLifetime it changes
// nothing and is answered as it was.
struct Addition {
  std::string request;  // its text: the token of another one is an error
  Instant at;
  std::vector<std::uint32_t> places;
};

// How large groups were to be from one time on.
enum class ScalingState { kInProgress, kSuperseded, kDone };
template <>
inline constexpr auto kWords<ScalingState> =
    std::to_array<std::string_view>({"in_progress", "superseded", "done"});
struct ScalingTarget {
  std::string group;
  std::uint32_t count = 0, count_min = 0;
};
struct Scaling {
  std::uint32_t number = 0;  // of the cluster's, from 1
  Instant asked;
  ScalingState state = ScalingState::kInProgress;
  std::vector<ScalingTarget> targets;  // of all its groups
};

// A rolling update: some nodes at a time leave their work, start anew with the software of now, and
// come back. When one does not, or an alarm is raised, those that are updated go back to the
// lifecycle scripts of before: also some at a time.
enum class SoftwareUpdateState { kInProgress, kSucceeded, kFailed, kRollingBack, kRolledBack };
template <>
inline constexpr auto kWords<SoftwareUpdateState> = std::to_array<std::string_view>(
    {"in_progress", "succeeded", "failed", "rolling_back", "rolled_back"});
struct SoftwareUpdate {
  SoftwareUpdateState state = SoftwareUpdateState::kInProgress;
  std::string by;
  std::vector<std::uint32_t> groups;  // numbers
  Deployment deployment;
  std::uint32_t batch = 1, rollback_batch = 1;  // nodes at one time
  Instant began;
  std::optional<Instant> ended;
  Instant next_at;              // of the next batch
  std::string failure;          // why it ended, or is rolled back; empty: all is well
  std::vector<NodeId> pending;  // in their order
  std::set<NodeId> under_way;
  std::uint32_t updated = 0, failed = 0, not_touched = 0;
  std::uint32_t went_back = 0, stayed = 0;  // of those that should go back

  [[nodiscard]] bool is_under_way() const {
    return state == SoftwareUpdateState::kInProgress || state == SoftwareUpdateState::kRollingBack;
  }
};

}  // namespace holdfast
