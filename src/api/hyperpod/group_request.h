#pragma once

// The part of a request that says what a cluster is made of.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/hyperpod/api_error.h"
#include "api/hyperpod/request.h"
#include "model/cluster.h"

namespace holdfast::hyperpod {

// A tag of CreateCluster with this key and a group's name behind it sets how many spares the group
// has: "holdfast:spares:workers" = "2".
inline constexpr std::string_view kSparesTag = "holdfast:spares:";

inline constexpr std::uint32_t kGroupsMax = 100;           // of a cluster
inline constexpr std::uint32_t kGroupInstancesMax = 6758;  // ClusterInstanceCount

// What of a CreateCluster or UpdateCluster is wrong beyond the model, or is AWS's own.
// REQUIRES here and below: `body` is valid and has only known members.
[[nodiscard]] std::optional<ApiError> check_cluster_body(const nlohmann::json& body);

// REQUIRES: check_cluster_body() has found nothing.
[[nodiscard]] std::vector<InstanceGroup> read_groups(const nlohmann::json& body);

// The words of deep checks; nullopt: one is none of ours.
[[nodiscard]] std::optional<std::vector<CheckKind>> read_check_kinds(const nlohmann::json& words);

// Sets the spares of the groups as the tags say.
[[nodiscard]] std::optional<ApiError> read_tags(const nlohmann::json& body,
                                                std::vector<InstanceGroup>& groups);

// What the cluster will be. Groups that the request names are replaced or added and keep their
// number and their spares, others stay as they are.
[[nodiscard]] std::variant<ClusterSpec, ApiError> updated(const ClusterSpec& current,
                                                          const request::UpdateCluster& request);

// Of one addition; refused: `error_code` is not empty.
struct AdditionOutcome {
  request::BatchAddClusterNodes::Addition addition;
  std::string error_code, message;
};
struct NodesAdded {
  ClusterSpec spec;  // with the counts of what was not refused
  std::vector<AdditionOutcome> outcomes;
};
[[nodiscard]] std::variant<NodesAdded, ApiError> with_nodes_added(
    const ClusterSpec& current, const request::BatchAddClusterNodes& request);

}  // namespace holdfast::hyperpod
