#include "api/hyperpod/ids.h"

#include <gtest/gtest.h>

namespace holdfast::hyperpod {
namespace {

const std::string kMine = "abcdefghij01", kOther = "abcdefghij02";

TEST(Ids, ReadsInstanceIdsOfItsClusterOnly) {
  const std::string id = instance_id(kMine, NodeId{0xFFFF1234});
  EXPECT_EQ(id.size(), 19U);
  EXPECT_EQ(read_instance_id(kMine, id), NodeId{0xFFFF1234});
  EXPECT_FALSE(read_instance_id(kOther, id));
  EXPECT_FALSE(read_instance_id(kMine, "i-0123456789abcdef0"));
  EXPECT_FALSE(read_instance_id(kMine, id + "0"));
  EXPECT_FALSE(read_instance_id(kMine, id.substr(0, 18)));
  EXPECT_FALSE(read_instance_id(kMine, ""));
}

TEST(Ids, SortsInstanceIdsLikeNumbers) {
  EXPECT_LT(instance_id(kMine, NodeId{9}), instance_id(kMine, NodeId{10}));
}

TEST(Ids, ReadsLogicalIds) {
  EXPECT_EQ(logical_id({"gpu-workers", 12}), "gpu-workers-12");
  EXPECT_EQ(read_logical_id("gpu-workers-12"), (LogicalId{"gpu-workers", 12}));
  for (const char* text :
       {"", "-", "-1", "workers", "workers-", "workers-07", "workers-x", "w-1x", "w-99999999999"})
    EXPECT_FALSE(read_logical_id(text)) << text;
}

TEST(Ids, ReadsEventIdsOfItsClusterOnly) {
  for (const auto sequence : {0ULL, 77ULL, (1ULL << 60) - 1}) {
    const std::string id = event_id(kMine, sequence);
    EXPECT_EQ(id[14], '8');  // RFC 9562: version and variant
    EXPECT_EQ(id[19], '8');
    EXPECT_EQ(read_event_id(kMine, id), sequence);
    EXPECT_FALSE(read_event_id(kOther, id));
  }
  EXPECT_FALSE(read_event_id(kMine, "01234567-89ab-cdef-0123-456789abcdef"));
  EXPECT_FALSE(read_event_id(kMine, std::string(36, '-')));
  EXPECT_FALSE(read_event_id(kMine, ""));
}

TEST(Ids, ReadsClustersByNameAndArn) {
  const Site site{"us-west-2", "123456789012"};
  const std::string arn = cluster_arn(site, kMine);
  EXPECT_EQ(arn, "arn:aws:sagemaker:us-west-2:123456789012:cluster/abcdefghij01");
  EXPECT_EQ(read_cluster_ref(arn, site), (ClusterRef{"", kMine}));
  EXPECT_EQ(read_cluster_ref("train", site), (ClusterRef{"train", ""}));
  EXPECT_FALSE(read_cluster_ref(arn, {"us-west-1", "123456789012"}));
  EXPECT_FALSE(read_cluster_ref(arn, {"us-west-2", "123456789013"}));

  ClusterSpec spec{.name = "train", .id = kMine};
  EXPECT_TRUE((ClusterRef{"train", ""}).means(spec));
  EXPECT_TRUE((ClusterRef{"", kMine}).means(spec));
  EXPECT_FALSE((ClusterRef{"", kOther}).means(spec));
  EXPECT_FALSE((ClusterRef{"other", ""}).means(spec));
}

TEST(Ids, NamesHostsByTheirAddress) {
  EXPECT_EQ(private_dns_name("10.0.255.7"), "ip-10-0-255-7.holdfast.internal");
  EXPECT_EQ(private_dns_name("0.0.0.0"), "ip-0-0-0-0.holdfast.internal");
  for (const char* address : {"", "10.0.0", "10.0.0.256", "::1", "host", "10.0.0.7:50", "10.0.0.07",
                              "10.0.0.7.", "10..0.7", "10.0.0.7.1", "10.0.0.+7", "1234"})
    EXPECT_EQ(private_dns_name(address), "") << address;
}

}  // namespace
}  // namespace holdfast::hyperpod
