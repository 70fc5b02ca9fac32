#pragma once

// What HyperPod's API shows of a cluster: from the control plane's state to the API's views.

#include <map>
#include <string>
#include <vector>

#include "api/hyperpod/answer.h"
#include "api/hyperpod/ids.h"
#include "api/hyperpod/view.h"
#include "apps/cluster_server.h"

namespace holdfast {

// On the loop's thread.
[[nodiscard]] hyperpod::ClusterView view_cluster(const ControlLoop& loop,
                                                 const hyperpod::Site& site);
// Without what its group asked for, which only DescribeClusterNode shows.
[[nodiscard]] hyperpod::NodeView view_node(const NodeRecord& node, const ControlLoop& loop);
[[nodiscard]] hyperpod::NodeView view_whole_node(const NodeRecord& node, const ControlLoop& loop);
[[nodiscard]] hyperpod::NodeWalk walk_nodes(const ControlLoop& loop, bool is_descending);

// The node by either of its ids; nullptr: there is none.
[[nodiscard]] const NodeRecord* find_instance(const ClusterState& state, const std::string& id);
[[nodiscard]] const NodeRecord* find_logical(const ClusterState& state, const std::string& id);

// The newest ones, oldest first. Not on the loop's thread.
[[nodiscard]] std::vector<hyperpod::EventView> recent_events(ClusterServer& cluster);
[[nodiscard]] hyperpod::NextEvent walk_events(const std::vector<hyperpod::EventView>& events,
                                              bool is_descending);

// Scalings and deep health checks, the newest of them. Not on the loop's thread.
[[nodiscard]] std::vector<hyperpod::OperationView> recent_operations(ClusterServer& cluster);

}  // namespace holdfast
