#pragma once

// HyperPod's names for what has numbers here. Each is made from the cluster's id and a number, both
// ways, so that nothing has to be remembered and a restart changes none.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/id.h"
#include "model/cluster.h"

namespace holdfast::hyperpod {

// Where the control plane says that it is: the parts of its ARNs.
struct Site {
  std::string region;
  std::string account;  // 12 digits
};

// "arn:aws:sagemaker:REGION:ACCOUNT:cluster/ID"
[[nodiscard]] std::string cluster_arn(const Site& site, const std::string& cluster_id);

// A cluster by its name, or by the id in its ARN; the other one is empty.
struct ClusterRef {
  std::string name;
  std::string id;

  [[nodiscard]] bool means(const ClusterSpec& spec) const {
    return id.empty() ? name == spec.name : id == spec.id;
  }
  friend bool operator==(const ClusterRef&, const ClusterRef&) = default;
};
// nullopt: an ARN of another region or account.
[[nodiscard]] std::optional<ClusterRef> read_cluster_ref(const std::string& name_or_arn,
                                                         const Site& site);

// "i-" and 17 hex digits: 9 of the cluster, 8 are the node's number.
[[nodiscard]] std::string instance_id(const std::string& cluster_id, NodeId node);
// None: it is of another cluster, or of AWS.
[[nodiscard]] NodeId read_instance_id(const std::string& cluster_id, std::string_view text);

// "GROUP-PLACE": who fills the place may change, its name does not.
struct LogicalId {
  std::string group;
  std::uint32_t place = 0;

  friend bool operator==(const LogicalId&, const LogicalId&) = default;
};
[[nodiscard]] std::string logical_id(const LogicalId& id);
[[nodiscard]] std::optional<LogicalId> read_logical_id(std::string_view text);

// A UUID (version 8: of its maker's own making) of an event's sequence number, below 2^60.
[[nodiscard]] std::string event_id(const std::string& cluster_id, std::uint64_t sequence);
// nullopt: it is of another cluster, or of AWS.
[[nodiscard]] std::optional<std::uint64_t> read_event_id(const std::string& cluster_id,
                                                         std::string_view text);

// "ip-10-0-0-7.holdfast.internal"; empty for what is no IPv4 address.
[[nodiscard]] std::string private_dns_name(const std::string& address);

// `value` in so many hexadecimal digits, the last ones when it needs more.
[[nodiscard]] std::string hex_of(std::uint64_t value, std::size_t digits);
// nullopt: it is not just lower-case hexadecimal digits, 1 to 16.
[[nodiscard]] std::optional<std::uint64_t> read_hex(std::string_view text);

}  // namespace holdfast::hyperpod
