#pragma once

// What answers are made from: whoever knows the cluster's state fills these, in HyperPod's words.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/check.h"
#include "model/enum_text.h"
#include "model/instance_group.h"

namespace holdfast::hyperpod {

enum class ClusterStatus {
  kCreating,
  kDeleting,
  kFailed,
  kInService,
  kRollingBack,
  kSystemUpdating,
  kUpdating
};
enum class GroupStatus {
  kInService,
  kCreating,
  kUpdating,
  kFailed,
  kDegraded,
  kSystemUpdating,
  kDeleting
};
enum class UpdateStatus {
  kInProgress,
  kSucceeded,
  kFailed,
  kRollbackInProgress,
  kRollbackComplete
};
enum class InstanceStatus {
  kRunning,
  kFailure,
  kPending,
  kShuttingDown,
  kSystemUpdating,
  kDeepHealthCheckInProgress,
  kNotFound
};
enum class EventResource { kCluster, kInstanceGroup, kInstance };
enum class EventLevel { kInfo, kWarn, kError };

enum class OperationType { kScaling, kDeepHealthCheck };
enum class OperationStatus { kInProgress, kSuperseded, kDone };

struct GroupView {
  InstanceGroup group;
  std::uint32_t current_count = 0;  // instances that are there now
  GroupStatus status = GroupStatus::kInService;
  std::optional<UpdateStatus> update;       // of its software, the last one; nullopt: never
  std::optional<Deployment> update_config;  // while it lasts
};

struct ClusterView {
  std::string name;
  std::string arn;
  ClusterStatus status = ClusterStatus::kInService;
  WallTime created;
  std::string failure_message;  // empty: none
  bool recovers_nodes = true;
  bool is_continuous = false;
  std::string specification;  // of ClusterSpec
  std::vector<GroupView> groups;
};

struct NodeView {
  std::string group;
  std::string instance_id;
  std::string logical_id;  // empty: it fills no place, as a spare
  InstanceStatus status = InstanceStatus::kRunning;
  std::string message;        // why it has this status; may be empty
  std::string instance_type;  // empty: its agent does not know
  WallTime launched;
  std::string address;              // IPv4; anything else is not shown
  std::string group_specification;  // of InstanceGroup; only for DescribeClusterNode
};

struct EventView {
  std::uint64_t sequence = 0;  // 1 and up, in the order of time
  std::string id;
  WallTime time;
  EventResource resource = EventResource::kCluster;
  EventLevel level = EventLevel::kInfo;
  std::string group, instance_id, logical_id;  // empty: of none
  std::string description;
  std::string failure_message;  // empty: nothing failed
};

struct OperationView {
  std::string id;
  OperationType type = OperationType::kScaling;
  OperationStatus status = OperationStatus::kDone;
  WallTime created;
  std::vector<InstanceGroup> wanted;  // of a scaling: their names and counts
  struct Checked {
    std::string group;
    std::vector<std::string> instance_ids;
    std::vector<CheckKind> kinds;
  };
  std::vector<Checked> checked;  // of deep health checks
};

}  // namespace holdfast::hyperpod

namespace holdfast {
template <>
inline constexpr auto kWords<hyperpod::ClusterStatus> = std::to_array<std::string_view>(
    {"Creating", "Deleting", "Failed", "InService", "RollingBack", "SystemUpdating", "Updating"});
template <>
inline constexpr auto kWords<hyperpod::GroupStatus> = std::to_array<std::string_view>(
    {"InService", "Creating", "Updating", "Failed", "Degraded", "SystemUpdating", "Deleting"});
template <>
inline constexpr auto kWords<hyperpod::UpdateStatus> = std::to_array<std::string_view>(
    {"InProgress", "Succeeded", "Failed", "RollbackInProgress", "RollbackComplete"});
template <>
inline constexpr auto kWords<hyperpod::InstanceStatus> =
    std::to_array<std::string_view>({"Running", "Failure", "Pending", "ShuttingDown",
                                     "SystemUpdating", "DeepHealthCheckInProgress", "NotFound"});
template <>
inline constexpr auto kWords<hyperpod::EventResource> =
    std::to_array<std::string_view>({"Cluster", "InstanceGroup", "Instance"});
template <>
inline constexpr auto kWords<hyperpod::EventLevel> =
    std::to_array<std::string_view>({"Info", "Warn", "Error"});
template <>
inline constexpr auto kWords<hyperpod::OperationType> =
    std::to_array<std::string_view>({"Scaling", "DeepHealthCheck"});
template <>
inline constexpr auto kWords<hyperpod::OperationStatus> =
    std::to_array<std::string_view>({"InProgress", "Superseded", "Done"});
}  // namespace holdfast
