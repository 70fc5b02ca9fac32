#include "core/cluster/spec_change.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(SpecChange, TagsAreWordsAndGroupsAreNot) {
  const ClusterSpec now{.name = "ml", .groups = {{.name = "a", .count = 1}}, .specification = "{}"};
  EXPECT_FALSE(changes_only_words(now, now)) << "asked for again: it is tried again";
  ClusterSpec asked = now;
  asked.specification = R"({"Tags":[]})";
  EXPECT_TRUE(changes_only_words(now, asked));
  asked.groups[0].count = 2;
  EXPECT_FALSE(changes_only_words(now, asked));
  asked = now;
  asked.recovers_nodes = false;
  asked.specification = "{ }";
  EXPECT_FALSE(changes_only_words(now, asked));
}

}  // namespace
}  // namespace holdfast
