#pragma once

// The files that HyperPod writes for lifecycle scripts, by name, as they are for one node now:
//
//   resource_config.json     the cluster, its groups, their members so far and their addresses
//   life_cycle_config.json   where the scripts are from, and which run
//
// Members that have not joined yet have no address and are not in it: a script that needs them asks
// for a later try by failing, and finds a new file then.

#include <functional>
#include <map>
#include <string>

#include "model/cluster.h"

namespace holdfast {

struct LifecycleNames {
  std::string cluster_arn;
  std::function<std::string(NodeId)> instance_id;  // "i-..."
};

[[nodiscard]] std::map<std::string, std::string> lifecycle_config(const ClusterState& state,
                                                                  const InstanceGroup& group,
                                                                  const LifecycleNames& names);

}  // namespace holdfast
