#include "drivers/host_claims.h"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(HostClaims, OneClusterHasAHost) {
  HostClaims claims;
  EXPECT_TRUE(claims.take("10.0.0.1:22", "a"));
  EXPECT_TRUE(claims.take("10.0.0.1:22", "a")) << "again";
  EXPECT_FALSE(claims.take("10.0.0.1:22", "b"));
  EXPECT_TRUE(claims.take("10.0.0.1:2222", "b")) << "another machine behind the same address";
  EXPECT_TRUE(claims.is_of_another("10.0.0.1:22", "b"));
  EXPECT_FALSE(claims.is_of_another("10.0.0.1:22", "a"));
  EXPECT_FALSE(claims.is_of_another("10.0.0.9:22", "a"));
}

TEST(HostClaims, OnlyItsOwnClusterGivesItBack) {
  HostClaims claims;
  ASSERT_TRUE(claims.take("x:22", "a"));
  claims.give_back("x:22", "b");
  EXPECT_FALSE(claims.take("x:22", "b"));
  claims.give_back("x:22", "a");
  EXPECT_TRUE(claims.take("x:22", "b"));
}

TEST(HostClaims, AClusterThatEndsGivesAllBack) {
  HostClaims claims;
  ASSERT_TRUE(claims.take("x:22", "a"));
  ASSERT_TRUE(claims.take("y:22", "a"));
  ASSERT_TRUE(claims.take("z:22", "b"));
  claims.give_back_all("a");
  EXPECT_TRUE(claims.take("x:22", "c"));
  EXPECT_TRUE(claims.take("y:22", "c"));
  EXPECT_FALSE(claims.take("z:22", "c"));
}

TEST(HostClaims, OfManyAtOnceOneGetsIt) {
  HostClaims claims;
  constexpr int kHosts = 1000;
  std::atomic<int> taken{0};
  std::vector<std::thread> clusters;
  for (const char* name : {"a", "b", "c", "d"})
    clusters.emplace_back([&, name] {
      for (int i = 0; i < kHosts; ++i)
        if (claims.take("host" + std::to_string(i), name)) ++taken;
    });
  for (std::thread& cluster : clusters) cluster.join();
  EXPECT_EQ(taken, kHosts);
}

}  // namespace
}  // namespace holdfast
