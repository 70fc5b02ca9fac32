#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/enum_text.h"

namespace holdfast {

// What teams may use of a cluster, as HyperPod's task governance has it: records that are kept and
// shown. Nothing is scheduled by them yet.
enum class GovernanceKind { kSchedulerConfig, kComputeQuota };
template <>
inline constexpr auto kWords<GovernanceKind> = std::to_array<std::string_view>({"scheduler_config",
                                                                                "compute_quota"});

// What an update makes anew.
struct GovernanceVersion {
  std::uint32_t number = 0;  // 1, 2, ...
  std::string description;
  std::string config;     // the JSON object SchedulerConfig or ComputeQuotaConfig
  std::string target;     // a quota's: the JSON object ComputeQuotaTarget
  std::string team;       // a quota's: its TeamName
  bool is_active = true;  // a quota's ActivationState
  WallTime modified;
  std::string modified_by;  // id of an access key
};

struct GovernanceRecord {
  GovernanceKind kind = GovernanceKind::kSchedulerConfig;
  std::string id;       // of its ARN: [a-z0-9]{12}
  std::string cluster;  // the id of that one's ARN
  std::string name;
  WallTime created;
  std::string created_by;
  std::vector<GovernanceVersion> versions;  // the last ones, oldest first; never empty
};

struct GovernanceState {
  std::map<std::string, GovernanceRecord> records;  // of both kinds, by id
};

enum class GovernanceAction { kCreate, kUpdate, kDelete };
template <>
inline constexpr auto kWords<GovernanceAction> =
    std::to_array<std::string_view>({"create", "update", "delete"});

// A request for a change. JSON in it has been validated by who read the request.
struct GovernanceChange {
  GovernanceAction action = GovernanceAction::kCreate;
  GovernanceKind kind = GovernanceKind::kSchedulerConfig;
  std::string id;                    // of a new record: minted at the edge
  std::string cluster, name;         // of a new one
  std::uint32_t target_version = 0;  // of an update: the version that it was made from
  // Absent: as before; of a new record: empty, or active.
  std::optional<std::string> description, config, target, team;
  std::optional<bool> is_active;
};

}  // namespace holdfast
