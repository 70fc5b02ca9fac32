#include "core/cluster/server_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/codec.h"

namespace holdfast {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class ServerMachineTest : public testing::Test {
 protected:
  static Instant at(std::int64_t ms) { return Instant{} + milliseconds(ms); }
  // Everything durable at once.
  std::vector<ServerMachine::Entry> turn(std::int64_t ms) {
    auto entries = server_.turn(at(ms));
    effects_ = server_.durable(at(ms));
    for (const ServerMachine::Entry& entry : entries) journal_.push_back(entry);
    return entries;
  }
  void make(std::uint32_t nodes) {
    server_.submit(event::ClusterMade{{.name = "test", .groups = one_group(nodes)}});
    turn(1000);
    for (std::uint32_t n = 1; n <= nodes; ++n)
      server_.take(at(1000), NodeId{n}, agent_message::Hello{.node = NodeId{n}});
    turn(1000);
  }
  void beat(std::uint32_t node, std::int64_t ms) {
    server_.take(at(ms), NodeId{node}, agent_message::Heartbeat{});
  }
  NodeState state(std::uint32_t node) const {
    return server_.controller().state().nodes.at(NodeId{node}).state;
  }

  ServerMachine server_;
  Effects effects_;
  std::vector<ServerMachine::Entry> journal_;
};

TEST_F(ServerMachineTest, EffectsWaitUntilTheirInputIsDurable) {
  server_.submit(event::ClusterMade{{.name = "test", .groups = one_group(2)}});
  const auto entries = server_.turn(at(1000));
  ASSERT_THAT(entries, SizeIs(1));
  EXPECT_THAT(entries[0].audits, SizeIs(1));
  EXPECT_THAT(server_.durable(at(1001)), SizeIs(2)) << "two machines are asked for";
  EXPECT_THAT(server_.durable(at(1001)), IsEmpty()) << "once";
}

TEST_F(ServerMachineTest, AReplayGivesTheSameStateAndTheSameEffects) {
  make(3);
  server_.submit(event::JobSubmitted{{.name = "gpt", .nodes_max = 3, .command = {"train"}}});
  turn(2000);
  ServerMachine again;
  for (const ServerMachine::Entry& entry : journal_)
    EXPECT_EQ(again.replay(entry.at, entry.event), entry.effects_digest) << encode(entry.event);
  EXPECT_EQ(again.controller().digest(), server_.controller().digest());
}

TEST_F(ServerMachineTest, ASilentNodeIsLostAtTheMomentAtWhichItsTimeIsUp) {
  make(2);
  for (std::int64_t ms = 1500; ms <= 4000; ms += 500) {
    beat(1, ms);
    server_.look(at(ms));
    EXPECT_EQ(server_.has_input(), ms >= 3500) << ms;
    if (ms == 3000) {
      EXPECT_EQ(server_.next_look(), at(3500)) << "2,500 ms after n2 was heard of";
    }
  }
  const auto entries = turn(4000);
  ASSERT_THAT(entries, SizeIs(1));
  EXPECT_THAT(encode(entries[0].event), HasSubstr("not heard of for 2500 ms"));
  EXPECT_EQ(state(1), NodeState::kHealthy);
  EXPECT_EQ(state(2), NodeState::kGone);
}

TEST_F(ServerMachineTest, ASilenceOfOurOwnIsHeldAgainstNobody) {
  make(2);
  server_.look(at(9000));  // we stood still for eight seconds
  EXPECT_FALSE(server_.has_input());
  beat(1, 9100);
  for (std::int64_t ms = 9500; ms < 11'500; ms += 500) server_.look(at(ms));
  EXPECT_FALSE(server_.has_input());
  server_.look(at(11'500));
  EXPECT_TRUE(server_.has_input()) << "from then on n2 had its time";
}

TEST_F(ServerMachineTest, ASlowDiskIsASilenceOfOurOwn) {
  make(2);
  server_.submit(event::NodeAddAsked{"operator"});
  (void)server_.turn(at(2000));
  (void)server_.durable(at(8000));  // the write took six seconds
  server_.look(at(8001));
  EXPECT_FALSE(server_.has_input());
}

TEST_F(ServerMachineTest, ACordonedNodeIsAMemberUntilItsRanksAreDead) {
  make(2);
  server_.submit(event::JobSubmitted{{.name = "gpt", .nodes_max = 2, .command = {"train"}}});
  server_.submit(event::NodeReplaceAsked{NodeId{2}, "operator"});
  turn(1100);
  ASSERT_EQ(state(2), NodeState::kCordoned);
  for (std::int64_t ms = 1500; ms <= 6000; ms += 500) {
    beat(1, ms);
    beat(2, ms);
    server_.look(at(ms));
  }
  EXPECT_FALSE(server_.has_input()) << "its ranks may take their time to die";
}

}  // namespace
}  // namespace holdfast
