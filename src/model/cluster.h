#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/check.h"
#include "model/governance.h"
#include "model/incident.h"
#include "model/instance_group.h"
#include "model/job.h"
#include "model/node.h"

namespace holdfast {

// What a person asks for with `holdfast up`.
struct ClusterSpec {
  std::string name;
  std::string id;  // of its ARN: [a-z0-9]{12}; minted at the edge
  WallTime created;
  std::vector<InstanceGroup> groups;
  bool recovers_nodes =
      true;  // HyperPod's NodeRecovery: Automatic; else bad ones are only cordoned
  bool is_continuous =
      false;  // NodeProvisioningMode: what can be had is taken, the rest comes later
  std::string specification;  // the JSON object that asked for it, without its groups; see there
  std::uint32_t machines_max =
      0;  // machines that the provider can give over the cluster's life; 0: no end
  std::uint32_t breaker_percent =
      50;  // of nodes and spares: more bad at once and nothing is cordoned
  Duration breaker_window = seconds(10);  // what "at once" means
  Duration heartbeat_interval = milliseconds(500);
  Duration silence_max = milliseconds(2500);  // a node is lost then: node loss is noticed in 3 s
  DeepChecks checks;

  // Of all groups together.
  [[nodiscard]] std::uint32_t nodes() const;
  [[nodiscard]] std::uint32_t spares() const;
  // By name or number; nullptr: there is none.
  [[nodiscard]] const InstanceGroup* find_group(std::string_view group) const;
  [[nodiscard]] const InstanceGroup* find_group(std::uint32_t number) const;
};

// HyperPod's words for how a cluster fares as a whole. What single nodes do is not in it: a cluster
// in service repairs itself.
enum class ClusterPhase { kCreating, kInService, kUpdating, kSystemUpdating, kFailed, kDeleting };
template <>
inline constexpr auto kWords<ClusterPhase> = std::to_array<std::string_view>(
    {"Creating", "InService", "Updating", "SystemUpdating", "Failed", "Deleting"});

struct Breaker {
  bool open = false;
  Instant since;
  struct Mark {
    NodeId node;
    Instant at;
  };
  std::vector<Mark> recent;  // nodes that turned bad within the window
};

// Everything that the control plane must not forget. A value: copied, compared, written as JSON.
struct ClusterState {
  ClusterSpec spec;
  std::uint32_t nodes_made = 0;  // also the last node id given
  bool down = false;             // taken down by an operator; nothing is provisioned
  ClusterPhase phase = ClusterPhase::kCreating;
  std::string failure;            // why it failed, or an update of it did
  std::uint32_t groups_made = 0;  // also the last number given
  std::uint32_t places_made = 0;
  std::vector<GroupRecord> groups;                // by number
  std::map<std::string, Addition> additions;      // by token
  std::uint32_t scalings_made = 0;                // also the last number given
  std::vector<Scaling> scalings;                  // the newest ones, oldest first
  std::optional<SoftwareUpdate> software_update;  // the one under way, or the last one
  std::uint32_t jobs_made = 0;
  std::uint32_t incidents_made = 0;
  std::map<NodeId, NodeRecord> nodes;
  std::map<JobId, JobRecord> jobs;
  std::map<IncidentId, IncidentRecord> incidents;
  std::uint32_t checks_made = 0;
  std::map<CheckId, CheckRun> checks;  // those under way, and the last ones of each member
  Breaker breaker;
  GovernanceState governance;
};

}  // namespace holdfast
