#include "engine/checks/all_reduce.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "engine/checks/channel.h"

namespace holdfast {
namespace {

// A ring of threads on ports that were free a moment ago.
std::vector<RingSession> ring_of(std::uint32_t nodes, Duration budget = seconds(30)) {
  std::vector<Listener> taken;
  std::vector<RingMember> ring;
  for (std::uint32_t i = 0; i < nodes; ++i) {
    auto listener = Listener::open("127.0.0.1", 0);
    EXPECT_TRUE(listener.ok());
    ring.push_back({NodeId{i + 1}, "127.0.0.1", listener->port()});
    taken.push_back(std::move(listener).value());
  }
  std::vector<RingSession> sessions;
  for (std::uint32_t i = 0; i < nodes; ++i)
    sessions.push_back({.check = CheckId{1},
                        .step = 1,
                        .position = i,
                        .ring = ring,
                        .load = milliseconds(50),
                        .budget = budget});
  return sessions;
}

std::vector<RingReport> run(const std::vector<RingSession>& sessions) {
  std::vector<RingReport> reports(sessions.size());
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < sessions.size(); ++i)
    threads.emplace_back([&, i] { reports[i] = run_all_reduce(sessions[i]); });
  threads.clear();
  return reports;
}

TEST(AllReduce, AllSumsAreRight) {
  for (const std::uint32_t nodes : {2u, 3u, 5u})
    for (const RingReport& report : run(ring_of(nodes))) {
      EXPECT_EQ(report.problem, "") << nodes;
      EXPECT_GT(report.bandwidth, 0) << nodes;
    }
}

// One of three never comes: the one that it would send to names it, and nobody waits for long.
TEST(AllReduce, ANodeThatNeverComesIsNamedByItsNeighbour) {
  auto sessions = ring_of(3, seconds(2));
  sessions.pop_back();
  const auto reports = run(sessions);
  EXPECT_EQ(reports[0].culprit, NodeId{3}) << reports[0].problem;
  EXPECT_TRUE(reports[1].is_echo) << reports[1].problem;
}

// One that takes the connections and then says nothing, and one that sends nonsense.
TEST(AllReduce, SilenceAndNonsenseAreNamed) {
  for (const bool talks : {false, true}) {
    auto sessions = ring_of(2);
    const RingMember liar = sessions[1].ring[1];
    sessions.pop_back();
    auto listener = Listener::open(liar.address, liar.port);
    ASSERT_TRUE(listener.ok());
    std::jthread peer([&] {
      auto in = listener->accept(seconds(10), seconds(10));
      auto out = Channel::connect("127.0.0.1", sessions[0].ring[0].port, seconds(10), seconds(10));
      ASSERT_TRUE(in.ok() && out.ok());
      std::vector<char> bytes(32);
      ASSERT_TRUE(in->receive(bytes.data(), bytes.size()).ok());  // its hello, and ours after it
      const std::uint32_t self = 2;
      std::memcpy(bytes.data() + 20, &self, sizeof self);
      ASSERT_TRUE(out->send(bytes.data(), bytes.size()).ok());
      if (talks) {
        std::vector<char> nonsense(1000, 'x');
        EXPECT_TRUE(out->send(nonsense.data(), nonsense.size()).ok());
      }
      std::vector<char> rest(1 << 20);
      while (true) {  // until it gives up
        const auto got = in->receive(rest.data(), rest.size());
        if (!got.ok()) break;
      }
    });
    const auto reports = run(sessions);
    EXPECT_EQ(reports[0].culprit, NodeId{2}) << reports[0].problem;
    EXPECT_FALSE(reports[0].is_echo);
  }
}

}  // namespace
}  // namespace holdfast
