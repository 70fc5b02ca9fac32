#pragma once

// Requests of HyperPod's API, AWS JSON 1.1: X-Amz-Target and body to values, or the error that the
// caller gets. What the service model says of a request is checked first (validate.h), then what
// AWS says of it beyond that.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/hyperpod/api_error.h"
#include "api/hyperpod/ids.h"
#include "api/hyperpod/page.h"
#include "api/hyperpod/service_model.h"
#include "api/hyperpod/tags.h"
#include "base/time.h"
#include "model/check.h"
#include "model/cluster.h"

namespace holdfast::hyperpod {

inline constexpr std::size_t kBodyMax = 2 << 20;  // 99 x 500 instance ids are 1.1 MB

namespace request {

struct CreateCluster {
  ClusterSpec spec;  // its id and its time are still to be given
};
struct UpdateCluster {
  ClusterRef cluster;
  std::vector<InstanceGroup> groups;   // new ones, and those to be replaced
  std::vector<std::string> to_delete;  // names of groups
  std::optional<bool> recovers_nodes;  // as in ClusterSpec; nullopt: as it was
  bool is_continuous = false;          // false: as it was
  nlohmann::json settings;             // what goes into ClusterSpec::specification
};
struct UpdateClusterSoftware {
  ClusterRef cluster;
  std::vector<std::string> groups;  // empty: all
  Deployment deployment;
};
struct DeleteCluster {
  ClusterRef cluster;
};
struct DescribeCluster {
  ClusterRef cluster;
};
struct ListClusters {
  Page page;
  bool by_name = false;  // else by their time
  std::optional<WallTime> after, before;
  std::string name_contains;
  bool has_training_plan = false;  // no cluster has one here
};
struct DescribeClusterNode {
  ClusterRef cluster;
  std::string instance_id, logical_id;  // either
};
// By name or by time: either is the order of their numbers.
struct ListClusterNodes {
  ClusterRef cluster;
  Page page;
  std::optional<WallTime> after, before;
  std::string group_contains;
  bool with_logical_ids = false;
};
struct DescribeClusterEvent {
  ClusterRef cluster;
  std::string event_id;
};
struct ListClusterEvents {
  ClusterRef cluster;
  Page page;
  std::optional<WallTime> after, before;
  std::string group, instance_id, resource_type;  // empty: any
  bool has_operation = false;                     // no event belongs to an operation here
};
struct BatchAddClusterNodes {
  struct Addition {
    std::string group;
    std::uint32_t count = 0;
    std::vector<std::string> instance_types, zones;
  };
  ClusterRef cluster;
  std::string client_token;  // the same one within 8 hours is the same request; empty: none
  std::vector<Addition> additions;
};
enum class BatchKind { kDelete, kReboot, kReplace };
struct BatchNodes {
  BatchKind kind = BatchKind::kDelete;
  ClusterRef cluster;
  std::vector<std::string> instance_ids, logical_ids;  // each once
};
struct StartClusterHealthCheck {
  struct Group {
    std::string name;
    std::vector<std::string> instance_ids;  // empty: the whole group
    std::vector<CheckKind> kinds;
  };
  ClusterRef cluster;
  std::vector<Group> groups;
};
struct ListClusterOperations {
  ClusterRef cluster;
  Page page;
  std::optional<WallTime> after, before;
  std::string status, type;  // empty: any
};
struct DescribeClusterOperation {
  ClusterRef cluster;
  std::string operation_id;
};
struct MoveClusterNodes {
  ClusterRef from, to;
};
enum class TagsKind { kAdd, kDelete, kList };
struct Tags {
  TagsKind kind = TagsKind::kList;
  TagOwner owner;
  nlohmann::json tags;            // to be added
  std::vector<std::string> keys;  // to be deleted
};
// The ten operations of scheduler configurations and compute quotas.
struct Governance {
  const Operation* operation = nullptr;
  nlohmann::json body;  // valid, without unknown members and nulls
  Page page;            // of the lists
};

}  // namespace request

using Request =
    std::variant<request::CreateCluster, request::UpdateCluster, request::UpdateClusterSoftware,
                 request::DeleteCluster, request::DescribeCluster, request::ListClusters,
                 request::DescribeClusterNode, request::ListClusterNodes,
                 request::DescribeClusterEvent, request::ListClusterEvents,
                 request::BatchAddClusterNodes, request::BatchNodes,
                 request::StartClusterHealthCheck, request::ListClusterOperations,
                 request::DescribeClusterOperation, request::MoveClusterNodes, request::Tags,
                 request::Governance>;

// `target`: of the header X-Amz-Target, "SageMaker.CreateCluster".
[[nodiscard]] std::variant<Request, ApiError> parse_request(std::string_view target,
                                                            std::string_view body,
                                                            const Site& site);

// ResourceNotFound, as AWS says it.
[[nodiscard]] ApiError no_such_cluster(const std::string& name_or_arn);

}  // namespace holdfast::hyperpod
