#include "io/join_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr WallTime kNow{1'767'225'600'000'000'000};  // 2026-01-01T00:00:00Z
constexpr WallTime after(Duration d) {
  return {kNow.ns + d.ns};
}

class JoinTokenTest : public ScratchFolder {
 protected:
  ClusterCa make_ca(const std::string& name) {
    CHECK(make_folder(path(name), 0700).ok());
    auto ca = ClusterCa::create(path(name), "uuid-1", kNow);
    CHECK(ca.ok());
    return std::move(ca).value();
  }
  void expect_refused(std::string_view token, Errc code, const std::string& detail) {
    const auto node = verify_join_token(ca_, token, after(minutes(10)));
    ASSERT_FALSE(node.ok()) << token;
    EXPECT_EQ(node.error().code, code) << token;
    EXPECT_THAT(node.error().detail, HasSubstr(detail));
  }

  ClusterCa ca_ = make_ca("ca");
};

TEST_F(JoinTokenTest, LetsItsNodeIn) {
  const std::string token = make_join_token(ca_, NodeId{3}, after(minutes(11)));
  EXPECT_THAT(token, MatchesRegex("n3\\.1767226260\\.[0-9a-f]+"));
  const auto node = verify_join_token(ca_, token, after(minutes(10)));
  ASSERT_TRUE(node.ok()) << node.error().text();
  EXPECT_EQ(*node, NodeId{3});
  EXPECT_TRUE(verify_join_token(*ClusterCa::load(path("ca")), token, kNow).ok());
}

TEST_F(JoinTokenTest, Expires) {
  expect_refused(make_join_token(ca_, NodeId{3}, after(minutes(9))), Errc::kTokenExpired,
                 "of n3 expired at 2026-01-01T00:09:00Z");
  expect_refused(make_join_token(ca_, NodeId{3}, after(minutes(10))), Errc::kTokenExpired, "n3");
}

TEST_F(JoinTokenTest, IsOfOneCluster) {
  expect_refused(make_join_token(make_ca("other"), NodeId{3}, after(minutes(11))),
                 Errc::kUnauthenticated, "not made by this cluster");
}

TEST_F(JoinTokenTest, CannotBeForged) {
  const std::string token = make_join_token(ca_, NodeId{3}, after(minutes(11)));
  for (std::size_t i = 0; i < token.size(); ++i) {
    std::string forged = token;
    forged[i] = forged[i] == '4' ? '5' : '4';
    expect_refused(forged, Errc::kUnauthenticated, "not made by this cluster");
    expect_refused(token.substr(0, i), Errc::kUnauthenticated, "not made by this cluster");
  }
  expect_refused(token + "0", Errc::kUnauthenticated, "not made by this cluster");
}

}  // namespace
}  // namespace holdfast
