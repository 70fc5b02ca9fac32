#include "api/topology_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

std::string error_of(const std::string& text) {
  const auto parsed = parse_topology_file(text, "t.conf");
  return parsed.ok() ? "" : parsed.error().detail;
}

TEST(TopologyFile, SaysRackAndSpineOfEachHost) {
  const auto topology = parse_topology_file(
      "# ours\n"
      "SwitchName=r1 Nodes=gpu-[01-03],login LinkSpeed=100\r\n"
      "\n"
      "switchname=r2 nodes=gpu-[04-05]  # the new one\n"
      "SwitchName=r3 Nodes=lone\n"
      "SwitchName=s1 Switches=r[1-2]\n"
      "SwitchName=top Switches=s1",
      "t.conf");
  ASSERT_TRUE(topology.ok()) << topology.error().text();
  EXPECT_THAT(*topology, SizeIs(7));
  EXPECT_EQ(topology->at("gpu-02"), (Location{.spine = "s1", .rack = "r1", .host = "gpu-02"}));
  EXPECT_EQ(topology->at("gpu-05").rack, "r2");
  EXPECT_EQ(topology->at("lone").spine, "");

  EXPECT_EQ(located({.host = "gpu-04.lab.example"}, *topology).rack, "r2");
  EXPECT_EQ(located({.host = "gpu-04"}, *topology).spine, "s1");
  EXPECT_EQ(located({.rack = "own", .host = "gpu-04"}, *topology).rack, "own");
  EXPECT_EQ(located({.host = "other"}, *topology), (Location{.host = "other"}));
}

TEST(TopologyFile, ListsOfHostsAreSlurms) {
  EXPECT_THAT(*expand_hostlist("a"), ElementsAre("a"));
  EXPECT_THAT(*expand_hostlist("a[1-2,07],b"), ElementsAre("a1", "a2", "a07", "b"));
  EXPECT_THAT(*expand_hostlist("n[098-101]"), ElementsAre("n098", "n099", "n100", "n101"));
  EXPECT_THAT(*expand_hostlist("r[1-2]n[1-2]x"), ElementsAre("r1n1x", "r1n2x", "r2n1x", "r2n2x"));
  for (const char* bad : {"", ",", "a,", "a[", "a[]", "a[1", "a[2-1]", "a[x]", "a[1-]", "a[-1]",
                          "a]", "a b", "a[0-999999]", "a[1-999]b[1-999]", "a[1-9999999999]"})
    EXPECT_FALSE(expand_hostlist(bad).ok()) << bad;
}

TEST(TopologyFile, AnErrorNamesLineAndWhatIsWrong) {
  EXPECT_THAT(error_of("\nSwitchName=r1 Nodes=a\nSwitchName=r2 Nodes=a"),
              HasSubstr("t.conf:3: node 'a' hangs on switch 'r1' already"));
  EXPECT_THAT(error_of("SwitchName=r1 Nodes=a\nSwitchName=r1 Nodes=b"),
              HasSubstr("t.conf:2: switch 'r1' is there already"));
  EXPECT_THAT(error_of("SwitchName=s1 Switches=r1"), HasSubstr("'r1', below 's1', has no line"));
  EXPECT_THAT(error_of("SwitchName=s Switches=s"), HasSubstr("switch 's' is below 's'"));
  EXPECT_THAT(error_of("SwitchName=r1 Knobs=a"), HasSubstr("'Knobs=a' is not understood"));
  for (const char* bad :
       {"SwitchName=r1", "Nodes=a", "SwitchName= Nodes=a", "x", "SwitchName=r1 Nodes=a Switches=b"})
    EXPECT_NE(error_of(bad), "") << bad;
}

}  // namespace
}  // namespace holdfast
