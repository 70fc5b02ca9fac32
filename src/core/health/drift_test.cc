#include "core/health/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

Fingerprint node(std::uint32_t id, std::map<std::string, std::string> software,
                 std::string group = "p5") {
  return {NodeId{id}, std::move(group), std::move(software)};
}

TEST(Drift, TheOddOneIsFound) {
  const auto found = find_drift({node(1, {{"kernel", "6.1"}, {"nccl", "2.20"}}),
                                 node(2, {{"kernel", "6.1"}, {"nccl", "2.20"}}),
                                 node(3, {{"kernel", "6.1"}, {"nccl", "2.18"}})});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].node, NodeId{3});
  EXPECT_EQ(found[0].what, "nccl");
  EXPECT_EQ(found[0].has, "2.18");
  EXPECT_EQ(found[0].others, "2.20");
  EXPECT_EQ(found[0].alike, 2u);
  EXPECT_EQ(found[0].of, 3u);
  EXPECT_FALSE(found[0].is_split);
}

TEST(Drift, WhatIsMissingIsDriftToo) {
  const auto found =
      find_drift({node(1, {{"nccl", "2.20"}}), node(2, {{"nccl", "2.20"}}), node(3, {})});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].has, "");
}

TEST(Drift, GroupsAreComparedEachByItself) {
  EXPECT_THAT(find_drift({node(1, {{"kernel", "6.1"}}), node(2, {{"kernel", "5.4"}}, "p4")}),
              IsEmpty());
  EXPECT_THAT(find_drift({}), IsEmpty());
}

TEST(Drift, WithoutAMajorityItSaysSo) {
  const auto found = find_drift({node(1, {{"kernel", "6.1"}}), node(2, {{"kernel", "6.5"}})});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].node, NodeId{1}) << "the later version counts as what they should have";
  EXPECT_TRUE(found[0].is_split);
}

}  // namespace
}  // namespace holdfast
