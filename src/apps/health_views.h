#pragma once

// A node's health for the REST view and for a person.

#include <string>

#include <nlohmann/json.hpp>

#include "apps/commands/views.h"
#include "apps/terminal.h"
#include "model/cluster.h"

namespace holdfast {

// The record, and "labels", "taints", "annotations" and "health_text" derived from it
// (core/health/node_labels.h).
[[nodiscard]] nlohmann::json node_view(const NodeRecord& node, const ClusterSpec& spec);

[[nodiscard]] std::string health_table(const nlohmann::json& nodes, const Clocks& clocks,
                                       const Paint& paint);
[[nodiscard]] std::string health_page(const nlohmann::json& node, const Clocks& clocks,
                                      const Paint& paint);

}  // namespace holdfast
