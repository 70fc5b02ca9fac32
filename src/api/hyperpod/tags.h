#pragma once

// Tags of a cluster and of what belongs to it. They are kept in ClusterSpec::specification: those
// of the cluster as CreateCluster gave them, those of its scheduler configs and quotas beside them.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/hyperpod/api_error.h"
#include "api/hyperpod/ids.h"
#include "model/cluster.h"

namespace holdfast::hyperpod {

inline constexpr std::size_t kTagsMax = 50;  // of one resource

// What has tags, by its ARN.
struct TagOwner {
  std::string kind;  // "cluster", "cluster-scheduler-config" or "compute-quota"
  std::string id;

  [[nodiscard]] bool is_cluster() const { return kind == "cluster"; }
  friend bool operator==(const TagOwner&, const TagOwner&) = default;
};
// nullopt: an ARN of another region, account or kind of thing.
[[nodiscard]] std::optional<TagOwner> read_tag_owner(std::string_view arn, const Site& site);

// [{"Key": ..., "Value": ...}], by key. The tag of a group's spares says how many there are now.
[[nodiscard]] nlohmann::json tags_of(const ClusterSpec& spec, const TagOwner& owner);

// `spec` with these tags too: valid ones, which replace those of the same keys. A cluster's tags
// set spares as those of CreateCluster do.
[[nodiscard]] std::variant<ClusterSpec, ApiError> with_tags(const ClusterSpec& spec,
                                                            const TagOwner& owner,
                                                            const nlohmann::json& tags);
// Without the tags of these keys. Spares stay as they are.
[[nodiscard]] ClusterSpec without_tags(const ClusterSpec& spec, const TagOwner& owner,
                                       const std::vector<std::string>& keys);

}  // namespace holdfast::hyperpod
