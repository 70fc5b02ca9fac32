#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/id.h"
#include "base/time.h"
#include "model/check.h"
#include "model/enum_text.h"
#include "model/health.h"
#include "model/location.h"

namespace holdfast {

// provisioning -> [lifecycle_script ->] [deep_health_check ->] healthy <-> suspect; healthy|suspect
// -> cordoned -> {resetting|rebooting} -> [deep_health_check ->] healthy;
// cordoned|resetting|rebooting -> replacing -> gone; healthy -> deep_health_check when somebody
// asks for it
enum class NodeState {
  kProvisioning,
  kLifecycleScript,
  kDeepHealthCheck,
  kHealthy,
  kSuspect,
  kCordoned,
  kResetting,
  kRebooting,
  kReplacing,
  kGone
};
template <>
inline constexpr auto kWords<NodeState> = std::to_array<std::string_view>(
    {"provisioning", "lifecycle_script", "deep_health_check", "healthy", "suspect", "cordoned",
     "resetting", "rebooting", "replacing", "gone"});

// What became of the lifecycle scripts of a machine.
enum class LifecycleStatus { kNone, kInProgress, kSucceeded, kFailed };
template <>
inline constexpr auto kWords<LifecycleStatus> =
    std::to_array<std::string_view>({"None", "InProgress", "Succeeded", "Failed"});
struct NodeLifecycle {
  LifecycleStatus status = LifecycleStatus::kNone;
  std::uint32_t run = 0;           // the newest that was asked for, from 1
  std::uint32_t cut_offs = 0;      // of this run: its agent died in the middle
  bool is_second_machine = false;  // the scripts failed on the machine before it: no third one
  std::string failure;             // kFailed: why, with the last lines of the log
};

// One machine. Its id is this machine for ever; `place` is the position in the cluster that it
// fills, which the machine that replaces it takes over.
struct NodeRecord {
  NodeId id;
  NodeState state = NodeState::kProvisioning;
  std::uint32_t group = 0;       // see InstanceGroup
  std::uint32_t place = 0;       // one of its group's; 0: a spare, or no member any more
  std::uint32_t left_place = 0;  // the one that it was the last to fill, while that is empty; or 0
  std::string reason;            // why it is in this state
  bool silent = false;           // suspect because it was not heard of (else: because of a fault)
  Instant since;                 // of the state
  Instant made;                  // when it was first asked for
  Instant updated;               // its last software update began; zero: none
  bool updating = false;         // it is away for one
  bool no_capacity = false;      // provisioning: its provider had no machine to give; asked again
  std::string address;
  Location location;
  std::uint16_t rendezvous_port = 0;
  std::int32_t pid = 0;
  std::uint32_t cpus = 0;
  std::uint64_t memory_bytes = 0;
  std::string snapshot_address;  // see Hello
  JobId job;                     // none: free
  NodeHealth health;
  std::map<std::string, std::string> software;  // see Hello
  std::string instance_type;                    // as its agent was told; may be empty
  CheckId check;  // the deep checks under way, or the last ones; none: never
  CheckStatus check_status = CheckStatus::kNone;
  NodeLifecycle lifecycle;

  // Not there yet, or away to be repaired: it will be a member, for a spare's place at first.
  [[nodiscard]] bool is_coming() const {
    return state == NodeState::kProvisioning || state == NodeState::kLifecycleScript ||
           state == NodeState::kResetting || state == NodeState::kRebooting;
  }
  // A member may get work, now or after a doubt about it is cleared.
  [[nodiscard]] bool is_live() const {
    return state == NodeState::kHealthy || state == NodeState::kSuspect;
  }
};

}  // namespace holdfast
