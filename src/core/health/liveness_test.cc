#include "core/health/liveness.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

Instant at(int s) {
  return Instant{} + seconds(s);
}

TEST(LivenessMonitor, ReportsSilenceOnceAndOnlyOfTheSilent) {
  LivenessMonitor monitor(seconds(3));
  monitor.seen(NodeId{1}, at(0));
  monitor.seen(NodeId{2}, at(0));
  monitor.seen(NodeId{2}, at(2));
  EXPECT_TRUE(monitor.take_silent(at(2)).empty());
  EXPECT_EQ(monitor.take_silent(at(3)), std::vector<NodeId>{NodeId{1}});
  EXPECT_TRUE(monitor.take_silent(at(4)).empty());
  EXPECT_EQ(monitor.next_deadline(), at(5));
  EXPECT_EQ(monitor.take_silent(at(5)), std::vector<NodeId>{NodeId{2}});
  EXPECT_FALSE(monitor.next_deadline().has_value());
}

TEST(LivenessMonitor, ForgottenNodesAreNotReported) {
  LivenessMonitor monitor(seconds(3));
  monitor.seen(NodeId{1}, at(0));
  monitor.forget(NodeId{1});
  monitor.forget(NodeId{7});
  EXPECT_TRUE(monitor.take_silent(at(100)).empty());
}

TEST(LivenessMonitor, ManyNodesSilentAtOnceComeInOneAnswer) {
  LivenessMonitor monitor(seconds(3));
  for (std::uint32_t n = 1; n <= 1500; ++n) monitor.seen(NodeId{n}, at(0));
  for (std::uint32_t n = 1; n <= 750; ++n) monitor.seen(NodeId{n}, at(1));
  EXPECT_EQ(monitor.take_silent(at(3)).size(), 750u);
}

}  // namespace
}  // namespace holdfast
