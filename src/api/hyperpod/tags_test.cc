#include "api/hyperpod/tags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const Site kSite{"us-east-1", "000000000000"};
const TagOwner kCluster{"cluster", "abcdefghij01"};
const TagOwner kQuota{"compute-quota", "qqqqqqqqqqqq"};

ClusterSpec cluster() {
  return {.name = "ml",
          .id = kCluster.id,
          .groups = {{.name = "workers", .count = 2, .spares = 1}},
          .specification =
              R"({"NodeRecovery":"None","Tags":[{"Key":"holdfast:spares:workers","Value":"1"}]})"};
}

// A JSON of one object in braces would be that object.
json list(std::initializer_list<json> tags) {
  return json::array_t(tags);
}

json tag(const std::string& key, const std::string& value) {
  return {{"Key", key}, {"Value", value}};
}

TEST(Tags, AreOfWhatAnArnNames) {
  const std::string arn = "arn:aws:sagemaker:us-east-1:000000000000:";
  EXPECT_EQ(read_tag_owner(arn + "cluster/abcdefghij01", kSite), kCluster);
  EXPECT_EQ(read_tag_owner(arn + "compute-quota/qqqqqqqqqqqq", kSite), kQuota);
  EXPECT_FALSE(read_tag_owner(arn + "training-job/x", kSite));
  EXPECT_FALSE(read_tag_owner(arn + "cluster", kSite));
  EXPECT_FALSE(read_tag_owner("arn:aws:sagemaker:us-east-2:000000000000:cluster/a", kSite));
}

TEST(Tags, AreAddedReplacedAndDeleted) {
  ClusterSpec spec =
      std::get<ClusterSpec>(with_tags(cluster(), kCluster, list({tag("team", "a")})));
  spec = std::get<ClusterSpec>(with_tags(spec, kCluster, list({tag("team", "b"), tag("x", "")})));
  EXPECT_EQ(tags_of(spec, kCluster),
            json(list({tag("holdfast:spares:workers", "1"), tag("team", "b"), tag("x", "")})));
  EXPECT_THAT(spec.specification, HasSubstr("NodeRecovery")) << "what else was asked for stays";
  spec = without_tags(spec, kCluster, {"x", "nobody", "holdfast:spares:workers"});
  EXPECT_EQ(tags_of(spec, kCluster), json(list({tag("team", "b")})));
  EXPECT_EQ(spec.groups[0].spares, 1u);
}

TEST(Tags, OfAClusterSetSparesAndTellThem) {
  ClusterSpec spec = std::get<ClusterSpec>(
      with_tags(cluster(), kCluster, list({tag("holdfast:spares:workers", "3")})));
  EXPECT_EQ(spec.groups[0].spares, 3u);
  spec.groups[0].spares = 5;  // `holdfast pool set`
  EXPECT_EQ(tags_of(spec, kCluster), json(list({tag("holdfast:spares:workers", "5")})));
  const auto wrong = with_tags(cluster(), kCluster, list({tag("holdfast:spares:nobody", "3")}));
  EXPECT_THAT(std::get<ApiError>(wrong).message, HasSubstr("nobody"));
}

TEST(Tags, OfOtherThingsAreKeptApart) {
  ClusterSpec spec = std::get<ClusterSpec>(
      with_tags(cluster(), kQuota, list({tag("holdfast:spares:workers", "9"), tag("cost", "7")})));
  EXPECT_EQ(spec.groups[0].spares, 1u);
  EXPECT_EQ(tags_of(spec, kQuota),
            json(list({tag("cost", "7"), tag("holdfast:spares:workers", "9")})));
  EXPECT_EQ(tags_of(spec, kCluster).size(), 1u);
  EXPECT_EQ(tags_of(spec, {"compute-quota", "another"}), json::array());
  spec = without_tags(spec, kQuota, {"cost", "holdfast:spares:workers"});
  EXPECT_THAT(spec.specification, testing::Not(HasSubstr("TagsOfResources")));
}

TEST(Tags, ThatAreNoneChangeNothing) {
  for (const TagOwner& owner : {kCluster, kQuota}) {
    const auto same = std::get<ClusterSpec>(with_tags(cluster(), owner, json::array()));
    EXPECT_EQ(same.specification, cluster().specification);
    EXPECT_EQ(without_tags(cluster(), owner, {"nobody"}).specification, cluster().specification);
  }
}

TEST(Tags, AreBounded) {
  json many = json::array();
  for (int i = 0; i < 50; ++i) many.push_back(tag("k" + std::to_string(i), ""));
  EXPECT_TRUE(std::holds_alternative<ClusterSpec>(with_tags(cluster(), kQuota, many)));
  EXPECT_THAT(std::get<ApiError>(with_tags(cluster(), kCluster, many)).message,
              HasSubstr("51; 50 are the most"));
}

}  // namespace
}  // namespace holdfast::hyperpod
