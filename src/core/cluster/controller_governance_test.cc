#include "core/cluster/controller_fixture_test.h"

namespace holdfast {
namespace {

class GovernanceTest : public ControllerTest {
 protected:
  GovernanceTest() { make_cluster({.id = "cluster00001", .groups = one_group(1)}); }
  static event::GovernanceAsked create(const std::string& cluster = "cluster00001") {
    event::GovernanceAsked asked{.at = WallTime{7}, .by = "AKIA1"};
    asked.change.id = "config000001";
    asked.change.cluster = cluster;
    asked.change.name = "policy";
    asked.change.config = "{}";
    return asked;
  }
};

TEST_F(GovernanceTest, AChangeIsKeptAndTold) {
  ASSERT_TRUE(controller_.check(create()).ok());
  step(create());
  const auto& records = controller_.state().governance.records;
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records.at("config000001").created, WallTime{7});
  ASSERT_EQ(effects_.size(), 1u);
  EXPECT_EQ(std::get<effect::Audit>(effects_[0]).kind, "governance.create");
  EXPECT_EQ(std::get<effect::Audit>(effects_[0]).text, "scheduler_config config000001, by AKIA1");
}

TEST_F(GovernanceTest, OneThatCannotBeChangesNothingAndSaysWhy) {
  const auto elsewhere = controller_.check(create("cluster00002"));
  ASSERT_FALSE(elsewhere.ok());
  EXPECT_EQ(elsewhere.error().code, Errc::kNotFound);
  step(create("cluster00002"));
  EXPECT_TRUE(controller_.state().governance.records.empty());
  EXPECT_TRUE(effects_.empty());
  step(create());
  EXPECT_EQ(controller_.check(create()).error().code, Errc::kNameExists);
  step(create());
  EXPECT_EQ(controller_.state().governance.records.at("config000001").versions.size(), 1u);
  EXPECT_TRUE(effects_.empty());
}

}  // namespace
}  // namespace holdfast
