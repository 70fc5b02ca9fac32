#include "core/governance/governance.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

constexpr GovernanceKind kConfig = GovernanceKind::kSchedulerConfig;
constexpr GovernanceKind kQuota = GovernanceKind::kComputeQuota;

GovernanceChange config(std::string id = "config000001", std::string name = "policy") {
  GovernanceChange change{.kind = kConfig, .id = std::move(id), .cluster = "cluster00001"};
  change.name = std::move(name);
  change.config = "{}";
  return change;
}

GovernanceChange quota(std::string id, std::string team) {
  GovernanceChange change{.kind = kQuota, .id = std::move(id), .cluster = "cluster00001"};
  change.name = "quota-of-" + team;
  change.config = "{}";
  change.team = team;
  change.target = "{\"TeamName\":\"" + team + "\"}";
  return change;
}

GovernanceChange update(GovernanceKind kind, std::string id, std::uint32_t version) {
  return {.action = GovernanceAction::kUpdate,
          .kind = kind,
          .id = std::move(id),
          .target_version = version};
}

class Governance : public testing::Test {
 protected:
  Errc refused(const GovernanceChange& change) {
    const std::size_t before = state_.records.size();
    EXPECT_FALSE(apply_governance(state_, change, WallTime{9}, "who"));
    EXPECT_EQ(state_.records.size(), before);
    return check_governance(state_, change).error().code;
  }
  void accepted(const GovernanceChange& change, WallTime at = WallTime{5}) {
    const auto allowed = check_governance(state_, change);
    EXPECT_TRUE(allowed.ok()) << allowed.error().text();
    EXPECT_TRUE(apply_governance(state_, change, at, "key"));
  }
  const GovernanceRecord& record(const std::string& id) { return state_.records.at(id); }
  GovernanceState state_;
};

TEST_F(Governance, ARecordAndItsVersions) {
  GovernanceChange first = quota("quota0000001", "a");
  first.description = "first";
  accepted(first);
  EXPECT_EQ(record("quota0000001").created, WallTime{5});
  EXPECT_EQ(record("quota0000001").created_by, "key");
  GovernanceChange second = update(kQuota, "quota0000001", 1);
  second.config = R"({"x":1})";
  second.is_active = false;
  accepted(second, WallTime{6});
  const auto& versions = record("quota0000001").versions;
  ASSERT_EQ(versions.size(), 2u);
  EXPECT_EQ(versions[0].number, 1u);
  EXPECT_EQ(versions[0].config, "{}");
  EXPECT_TRUE(versions[0].is_active);
  EXPECT_EQ(versions[1].number, 2u);
  EXPECT_EQ(versions[1].config, R"({"x":1})");
  EXPECT_EQ(versions[1].description, "first");
  EXPECT_EQ(versions[1].team, "a");
  EXPECT_FALSE(versions[1].is_active);
  EXPECT_EQ(versions[1].modified, WallTime{6});
  accepted({.action = GovernanceAction::kDelete, .kind = kQuota, .id = "quota0000001"});
  EXPECT_TRUE(state_.records.empty());
}

TEST_F(Governance, OfTwoUpdatesFromOneVersionTheSecondIsRefused) {
  accepted(config());
  accepted(update(kConfig, "config000001", 1));
  EXPECT_EQ(refused(update(kConfig, "config000001", 1)), Errc::kWrongState);
  EXPECT_EQ(refused(update(kConfig, "config000001", 3)), Errc::kWrongState);
  EXPECT_EQ(record("config000001").versions.size(), 2u);
}

TEST_F(Governance, TheLastTenVersionsAreKept) {
  accepted(config());
  for (std::uint32_t version = 1; version < 25; ++version)
    accepted(update(kConfig, "config000001", version));
  EXPECT_EQ(record("config000001").versions.size(), kGovernanceVersionsKept);
  EXPECT_EQ(record("config000001").versions.front().number, 16u);
  EXPECT_EQ(record("config000001").versions.back().number, 25u);
}

TEST_F(Governance, OneSchedulerConfigPerCluster) {
  accepted(config());
  EXPECT_EQ(refused(config("config000002", "another")), Errc::kWrongState);
  EXPECT_EQ(refused(config("config000002", "policy")), Errc::kNameExists);
  GovernanceChange elsewhere = config("config000002", "policy");
  elsewhere.cluster = "cluster00002";
  accepted(elsewhere);
  accepted({.action = GovernanceAction::kDelete, .kind = kConfig, .id = "config000001"});
  accepted(config("config000003", "another"));
}

TEST_F(Governance, OneQuotaPerTeamAndCluster) {
  accepted(quota("quota0000001", "a"));
  accepted(quota("quota0000002", "b"));
  GovernanceChange same_team = quota("quota0000003", "a");
  same_team.name = "other";
  EXPECT_EQ(refused(same_team), Errc::kWrongState);
  GovernanceChange same_name = quota("quota0000003", "c");
  same_name.name = "quota-of-a";
  EXPECT_EQ(refused(same_name), Errc::kNameExists);
  GovernanceChange takes_over = update(kQuota, "quota0000002", 1);
  takes_over.team = "a";
  EXPECT_EQ(refused(takes_over), Errc::kWrongState);
  GovernanceChange stays = update(kQuota, "quota0000002", 1);
  stays.team = "b";
  accepted(stays);
  GovernanceChange elsewhere = quota("quota0000003", "a");
  elsewhere.cluster = "cluster00002";
  accepted(elsewhere);
}

TEST_F(Governance, WhatIsNotThere) {
  accepted(config());
  EXPECT_EQ(refused(update(kConfig, "config000009", 1)), Errc::kNotFound);
  EXPECT_EQ(refused(update(kQuota, "config000001", 1)), Errc::kNotFound);  // of the other kind
  EXPECT_EQ(refused({.action = GovernanceAction::kDelete, .kind = kQuota, .id = "config000001"}),
            Errc::kNotFound);
}

TEST_F(Governance, WhatCannotBe) {
  EXPECT_EQ(refused(config("short")), Errc::kInvalidField);
  EXPECT_EQ(refused(config("UPPERCASE123")), Errc::kInvalidField);
  EXPECT_EQ(refused(config("config000001", "")), Errc::kInvalidField);
  GovernanceChange bare = config();
  bare.config.reset();
  EXPECT_EQ(refused(bare), Errc::kInvalidField);
  GovernanceChange large = config();
  large.config = std::string(70'000, 'x');
  EXPECT_EQ(refused(large), Errc::kInvalidField);
  accepted(config());
  GovernanceChange again = quota("config000001", "a");
  EXPECT_EQ(refused(again), Errc::kNameExists);
}

}  // namespace
}  // namespace holdfast
