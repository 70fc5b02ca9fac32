#pragma once

// Answers of HyperPod's API: views to JSON as the service model has it.

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/hyperpod/group_request.h"
#include "api/hyperpod/request.h"
#include "api/hyperpod/view.h"
#include "model/http.h"

namespace holdfast::hyperpod {

// 200 with this body.
[[nodiscard]] HttpResponse render(const nlohmann::json& answer);

// Of CreateCluster, UpdateCluster, UpdateClusterSoftware, DeleteCluster, StartClusterHealthCheck.
[[nodiscard]] nlohmann::json answer_arn(const std::string& arn);

[[nodiscard]] nlohmann::json answer_describe_cluster(const ClusterView& cluster);
[[nodiscard]] nlohmann::json answer_list_clusters(const request::ListClusters& query,
                                                  std::vector<ClusterView> clusters);

// What a list of nodes is filtered by.
struct NodeKey {
  NodeId node;
  std::string_view group;  // valid until the next call
  WallTime launched;
};
// How a list gets at the nodes: `next` gives the one behind a number in the order asked for (see
// Page::is_descending), or nothing at the end; no number: the first one. Views are made only of
// nodes that are shown, so a page costs no more when there are many nodes.
struct NodeWalk {
  std::function<std::optional<NodeKey>(NodeId)> next;
  std::function<NodeView(NodeId)> view;
};
// The text of the JSON: a page of 100 nodes is asked for often.
[[nodiscard]] std::string answer_list_nodes(const request::ListClusterNodes& query,
                                            const NodeWalk& nodes);
[[nodiscard]] nlohmann::json answer_describe_node(const NodeView& node);

// The event behind a sequence number in the order asked for, or nothing; 0: the first one.
using NextEvent = std::function<std::optional<EventView>(std::uint64_t)>;
// `cluster`: only its name and ARN are read, here and below.
[[nodiscard]] nlohmann::json answer_list_events(const request::ListClusterEvents& query,
                                                const ClusterView& cluster, const NextEvent& next);
[[nodiscard]] nlohmann::json answer_describe_event(const ClusterView& cluster,
                                                   const EventView& event);

[[nodiscard]] nlohmann::json answer_list_operations(const request::ListClusterOperations& query,
                                                    const std::string& cluster_arn,
                                                    std::vector<OperationView> operations);
[[nodiscard]] nlohmann::json answer_describe_operation(const std::string& cluster_arn,
                                                       const OperationView& operation);

// Of one node of a BatchDelete-, BatchReboot- or BatchReplaceClusterNodes.
enum class NodeRefusal { kNotFound, kWrongStatus, kInUse, kFailed };
struct NodeOutcome {
  std::string id;  // as the caller wrote it
  bool is_logical = false;
  std::optional<NodeRefusal> refusal;  // nullopt: it is under way
  std::string message;                 // why it was refused
};
[[nodiscard]] nlohmann::json answer_batch(request::BatchKind kind,
                                          const std::vector<NodeOutcome>& outcomes);

// `added`: group, logical id and status of each node that comes.
[[nodiscard]] nlohmann::json answer_batch_add(const std::vector<NodeView>& added,
                                              const std::vector<AdditionOutcome>& outcomes);

}  // namespace holdfast::hyperpod
