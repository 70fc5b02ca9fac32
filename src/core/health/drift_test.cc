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
  EXPECT_EQ(found[0].difference.what, "nccl");
  EXPECT_EQ(found[0].difference.has, "2.18");
  EXPECT_EQ(found[0].difference.others, "2.20");
  EXPECT_EQ(found[0].difference.alike, 2u);
  EXPECT_EQ(found[0].difference.of, 3u);
  EXPECT_FALSE(found[0].difference.is_split);
}

TEST(Drift, WhatIsMissingIsDriftToo) {
  const auto found =
      find_drift({node(1, {{"nccl", "2.20"}}), node(2, {{"nccl", "2.20"}}), node(3, {})});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].difference.has, "");
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
  EXPECT_TRUE(found[0].difference.is_split);
}

TEST(Drift, CountsFollowNodesThatComeAndGo) {
  SoftwareCounts counts;
  const Software most{{"kernel", "6.1"}, {"nccl", "2.20"}}, odd{{"kernel", "6.1"}};
  for (int i = 0; i < 3; ++i) counts.add(most);
  EXPECT_TRUE(counts.all_alike());
  counts.add(odd);
  EXPECT_FALSE(counts.all_alike());
  ASSERT_THAT(counts.differences(odd), SizeIs(1));
  EXPECT_EQ(counts.differences(odd)[0].text(), "nccl none, where 3 of 4 of its kind have 2.20");
  EXPECT_THAT(counts.differences(most), IsEmpty());
  counts.remove(odd);
  EXPECT_TRUE(counts.all_alike());
  for (int i = 0; i < 3; ++i) counts.remove(most);
  EXPECT_EQ(counts, SoftwareCounts());
}

}  // namespace
}  // namespace holdfast
