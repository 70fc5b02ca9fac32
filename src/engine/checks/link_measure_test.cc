#include "engine/checks/link_measure.h"

#include <gtest/gtest.h>

#include <thread>

#include "engine/checks/channel.h"

namespace holdfast {
namespace {

std::uint16_t free_port() {
  const auto listener = Listener::open("127.0.0.1", 0);
  EXPECT_TRUE(listener.ok());
  return listener.ok() ? listener->port() : 0;
}

LinkSession session_of(std::uint32_t self, std::uint32_t peer, std::uint16_t port) {
  return {.check = CheckId{1},
          .step = 3,
          .self = NodeId{self},
          .peer = NodeId{peer},
          .address = "127.0.0.1",
          .port = port,
          .load = milliseconds(100),
          .budget = seconds(20)};
}

TEST(LinkMeasure, BothNumbersOfAWellLink) {
  const std::uint16_t port = free_port();
  Result<void> served;
  std::jthread server([&] { served = serve_link(session_of(1, 2, port)); });
  const auto report = measure_link(session_of(2, 1, port));
  server.join();
  ASSERT_TRUE(report.ok()) << report.error().text();
  EXPECT_TRUE(served.ok()) << served.error().text();
  EXPECT_GT(report->latency_us, 0);
  EXPECT_GT(report->bandwidth, 0);
}

// One that calls and says nothing, one that breaks off and one of another check do not end it.
TEST(LinkMeasure, StrangersAreSentAwayAndTheRightOneIsServed) {
  const std::uint16_t port = free_port();
  Result<void> served;
  std::jthread server([&] { served = serve_link(session_of(1, 2, port)); });
  {
    auto breaks_off = Channel::connect("127.0.0.1", port, seconds(10), seconds(1));
    ASSERT_TRUE(breaks_off.ok());
  }
  LinkSession stranger = session_of(9, 1, port);
  stranger.budget = milliseconds(1);
  EXPECT_FALSE(measure_link(stranger).ok());
  EXPECT_TRUE(measure_link(session_of(2, 1, port)).ok());
  server.join();
  EXPECT_TRUE(served.ok()) << served.error().text();
}

TEST(LinkMeasure, APeerThatNeverComes) {
  LinkSession session = session_of(1, 2, free_port());
  session.budget = milliseconds(100);
  const auto served = serve_link(session);
  ASSERT_FALSE(served.ok());
  EXPECT_EQ(served.error().detail, "n2 did not connect");
  session = session_of(2, 1, free_port());
  session.budget = milliseconds(100);
  EXPECT_EQ(measure_link(session).error().code, Errc::kUnavailable);
}

}  // namespace
}  // namespace holdfast
