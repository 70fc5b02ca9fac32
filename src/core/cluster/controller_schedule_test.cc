#include "core/cluster/controller_fixture_test.h"
#include "model/cron.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t kHour = 3'600'000'000'000, kDay = 24 * kHour;
constexpr WallTime kMidnight{20'000 * kDay};  // 2024-10-04

WallTime at(std::int64_t hours, std::int64_t minutes = 0) {
  return {kMidnight.ns + hours * kHour + minutes * kHour / 60};
}

class ScheduleTest : public ControllerTest {
 protected:
  static InstanceGroup group(const std::string& name, const std::string& expression,
                             std::uint32_t batch = 8) {
    InstanceGroup group{.name = name, .count = 2};
    group.schedule = {expression, {.batch = {.nodes = batch}}};
    return group;
  }
  // Every night at three.
  void make_nightly() {
    make_cluster({.groups = {group("a", "cron(0 3 * * ? *)")}});
    look(at(0));
  }
  void look(WallTime now) {
    ASSERT_TRUE(controller_.is_due(now));
    step(event::SchedulesLookedAt{now});
    EXPECT_FALSE(controller_.is_due(now)) << "once";
  }
  const std::optional<SoftwareUpdate>& update() const {
    return controller_.state().software_update;
  }
  void end_batch() {
    for (const auto& [id, node] : std::map(controller_.state().nodes))
      if (node.updating) step(event::NodeJoined{{.node = id, .pid = ++pid_}});
    now_ = std::max(now_, timers_.at({.kind = TimerKind::kUpdate}));
    step(event::TimerFired{{.kind = TimerKind::kUpdate}});
  }
  std::int32_t pid_ = 100;
};

TEST_F(ScheduleTest, ItsTimeComes) {
  make_nightly();
  EXPECT_THAT(audit("update.scheduled"), HasSubstr("2024-10-04 03:00 UTC"));
  EXPECT_FALSE(controller_.is_due(at(2, 59)));
  look(at(3));
  ASSERT_TRUE(update());
  EXPECT_EQ(update()->by, "the schedule cron(0 3 * * ? *)");
  EXPECT_THAT(asked<effect::Reboot>(), ElementsAre(1, 2));
  EXPECT_THAT(audit("update.scheduled"), HasSubstr("2024-10-05 03:00 UTC"));
}

TEST_F(ScheduleTest, ATimeThatWasMissedIsMadeUpForWithinTheHour) {
  make_nightly();
  step(event::ServerStarted{});
  look(at(3, 59));
  EXPECT_TRUE(update());
}

TEST_F(ScheduleTest, ATimeThatWasMissedForLongerIsSkipped) {
  make_nightly();
  look(at(4, 1));
  EXPECT_FALSE(update());
  EXPECT_THAT(audit("update.skipped"), HasSubstr("2024-10-04 03:00 UTC is skipped"));
  look(at(27));
  EXPECT_TRUE(update());
}

TEST_F(ScheduleTest, ItWaitsForWhatIsUnderWay) {
  make_nightly();
  step(event::SoftwareUpdateAsked{{}, {.batch = {.nodes = 1}}, "admin"});
  EXPECT_FALSE(controller_.is_due(at(3)));
  end_batch();
  end_batch();
  look(at(3, 30));
  EXPECT_EQ(update()->by, "the schedule cron(0 3 * * ? *)");
}

TEST_F(ScheduleTest, GroupsOfOneTimeAndOneWayAreOneUpdate) {
  make_cluster({.groups = {group("a", "cron(0 3 * * ? *)"), group("b", "cron(0 3 ? * * *)"),
                           group("c", "cron(0 3 * * ? *)", 1)}});
  look(at(0));
  step(event::SchedulesLookedAt{at(3)});
  EXPECT_THAT(update()->groups, ElementsAre(1, 2));
  EXPECT_FALSE(controller_.is_due(at(3))) << "c waits";
  end_batch();
  step(event::SchedulesLookedAt{at(3, 20)});
  EXPECT_THAT(update()->groups, ElementsAre(3));
}

TEST_F(ScheduleTest, AnotherScheduleIsLookedAtAnew) {
  make_nightly();
  step(event::ClusterUpdateAsked{{.groups = {group("a", "cron(0 5 * * ? *)")}}, "admin", "", ""});
  look(at(3));
  EXPECT_FALSE(update());
  EXPECT_THAT(audit("update.scheduled"), HasSubstr("2024-10-04 05:00 UTC"));
  InstanceGroup none{.name = "a", .count = 2};
  step(event::ClusterUpdateAsked{{.groups = {none}}, "admin", "", ""});
  EXPECT_FALSE(controller_.is_due(at(5)));
}

TEST_F(ScheduleTest, TheLastTimeIsTheLast) {
  make_cluster({.groups = {group("a", "cron(0 3 4 OCT ? 2024)")}});
  look(at(0));
  look(at(3));
  EXPECT_TRUE(update());
  EXPECT_THAT(audit("update.scheduled"), HasSubstr("is past"));
  EXPECT_FALSE(controller_.is_due(at(24 * 400)));
}

TEST_F(ScheduleTest, AClusterThatIsDownHasNone) {
  make_nightly();
  step(event::DownAsked{"admin"});
  EXPECT_FALSE(controller_.is_due(at(3)));
  step(event::SchedulesLookedAt{at(3)});
  EXPECT_THAT(effects_, IsEmpty());
}

}  // namespace
}  // namespace holdfast
