#include "apps/commands/cluster_history.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

using nlohmann::json;

TEST(ClusterHistory, CountsWhatWasNotTheJobsOwn) {
  const json status = {{"now_ns", 3'600'000'000'000}, {"spec", {{"nodes", 4}}}};
  const auto incident = [](const char* cause, std::int64_t noticed, std::int64_t stepped) {
    json one = {{"phases", {{"noticed", noticed}}}, {"verdicts", {{{"cause", cause}}}}};
    if (stepped != 0) one["phases"]["first_step"] = stepped;
    return one;
  };
  const json incidents = {{"incidents",
                           {incident("host", 1'000'000'000, 3'000'000'000),
                            incident("accelerator", 5'000'000'000, 6'000'000'000),
                            incident("unknown", 9'000'000'000, 19'000'000'000),
                            incident("host", 20'000'000'000, 0),  // still open
                            incident("application", 30'000'000'000, 31'000'000'000)}}};
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
