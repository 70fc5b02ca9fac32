#pragma once

// The control plane's answers as text for a person. Pure: the same answer gives the same text.

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "apps/terminal.h"

namespace holdfast {

[[nodiscard]] bool has_ended(const nlohmann::json& job);

// Leads from cluster time, in which records are kept, to what a person can place.
struct Clocks {
  std::int64_t now_ns = 0;
  std::int64_t wall_unix_ns = 0;
};
[[nodiscard]] Clocks clocks_of(const nlohmann::json& answer);  // "now_ns", "wall_unix_ns"

// "2026-11-24 04:06:19", local time
[[nodiscard]] std::string wall_text(std::int64_t unix_ns);

// "2026-11-24 04:06:19  alert    node.lost  node n2 is silent  (n2 j1 i1)"
[[nodiscard]] std::string event_line(const nlohmann::json& event, const Paint& paint);

[[nodiscard]] std::string status_page(const nlohmann::json& status, const Paint& paint);
[[nodiscard]] std::string node_table(const nlohmann::json& nodes, const Clocks& clocks,
                                     const Paint& paint);
[[nodiscard]] std::string node_page(const nlohmann::json& node, const Clocks& clocks,
                                    const Paint& paint);
// Of JobRecords or of the briefs in a status.
[[nodiscard]] std::string job_table(const nlohmann::json& jobs, const Paint& paint);
[[nodiscard]] std::string job_page(const nlohmann::json& job, const Clocks& clocks,
                                   const Paint& paint);
[[nodiscard]] std::string incident_table(const nlohmann::json& incidents, const Clocks& clocks,
                                         const Paint& paint);
// What an engineer who is paged wants to read.
[[nodiscard]] std::string incident_report(const nlohmann::json& incident, const Clocks& clocks,
                                          const Paint& paint);
// "host, replace_node (high): node n2 is silent"; empty without a verdict.
[[nodiscard]] std::string verdict_line(const nlohmann::json& verdict);

// What the live view of a job shows.
struct LiveJob {
  nlohmann::json job;
  nlohmann::json status;                              // the cluster's
  nlohmann::json incident;                            // the last one; null: none yet
  std::deque<nlohmann::json> events;                  // oldest first
  std::map<std::int64_t, std::deque<double>> speeds;  // by rank: steps/s, oldest first
};
inline constexpr std::size_t kSpeedsKept = 12;
inline constexpr std::size_t kLiveEvents = 6;

[[nodiscard]] std::vector<std::string> live_lines(const LiveJob& live, std::int64_t wall_unix_ns,
                                                  const Screen& screen);

}  // namespace holdfast
