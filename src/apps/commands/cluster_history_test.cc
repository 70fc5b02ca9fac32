#include "apps/commands/cluster_history.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "model/codec.h"
#include "model/incident.h"

namespace holdfast {
namespace {

using nlohmann::json;

TEST(ClusterHistory, CountsWhatWasNotTheJobsOwn) {
  const json status = {{"now_ns", 3'600'000'000'000}, {"spec", {{"nodes", 4}}}};
  const auto incident = [](CauseClass cause, std::int64_t noticed, std::int64_t stepped) {
    IncidentRecord one;
    one.phases[static_cast<std::size_t>(Phase::kNoticed)] = Instant{noticed};
    if (stepped != 0) one.phases[static_cast<std::size_t>(Phase::kFirstStep)] = Instant{stepped};
    one.verdicts.push_back({.cause = cause});
    return to_json_value(one);
  };
  const json incidents = {{"incidents",
                           {incident(CauseClass::kHost, 1'000'000'000, 3'000'000'000),
                            incident(CauseClass::kAccelerator, 5'000'000'000, 6'000'000'000),
                            incident(CauseClass::kUnknown, 9'000'000'000, 19'000'000'000),
                            incident(CauseClass::kHost, 20'000'000'000, 0),  // still open
                            incident(CauseClass::kApplication, 30'000'000'000, 31'000'000'000)}}};
  const ClusterHistory history = history_of(status, incidents);
  EXPECT_EQ(history.nodes, 4u);
  EXPECT_DOUBLE_EQ(history.node_s, 4 * 3600);
  EXPECT_EQ(history.interruptions, 4u);
  EXPECT_EQ(history.recovered, 3u);
  EXPECT_DOUBLE_EQ(history.restart_s, 2);
  EXPECT_EQ(history_text(history),
            "this cluster: 4 nodes over 1 h 0 min: 4 interruptions that were not a job's own; from "
            "the first sign to the next step 2.0 s (median); too few to know a rate from, so give "
            "--mtbf if you know better");
}

TEST(ClusterHistory, OfAnEmptyAnswer) {
  const ClusterHistory history = history_of(json::object(), json::object());
  EXPECT_EQ(history.interruptions, 0u);
  EXPECT_EQ(history.nodes, 0u);
}

}  // namespace
}  // namespace holdfast
