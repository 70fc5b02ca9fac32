#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

namespace holdfast {

// What a cluster's own incidents say about how often it is interrupted and how fast it goes on.
struct ClusterHistory {
  std::uint32_t nodes = 0;
  double node_s = 0;  // node-seconds in which the interruptions happened
  std::uint64_t interruptions = 0;
  std::uint64_t recovered = 0;
  double restart_s = 0;  // median, from the first sign to the next step; 0: none has recovered
};

// From the answers of /v1/status and /v1/incidents. Incidents of a job's own making (verdict
// application or out_of_memory) are left out: other hardware would not change them. Pure.
[[nodiscard]] ClusterHistory history_of(const nlohmann::json& status,
                                        const nlohmann::json& incidents);

// "4 nodes over 3 h: 5 interruptions; median restart 2.1 s", with a warning when that is thin.
[[nodiscard]] std::string history_text(const ClusterHistory& history);

}  // namespace holdfast
