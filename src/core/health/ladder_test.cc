#include "core/health/ladder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::HasSubstr;

constexpr Instant kNow{1'000'000'000'000'000};

Fault ill(Action action, std::string device = "0000:3b:00") {
  return {.kind = "gpu_recovery", .device = std::move(device), .action = action};
}
Repair repaired(Action action, Duration ago, std::string device = "0000:3b:00") {
  return {action, "gpu_recovery", std::move(device), kNow + (Duration{} - ago)};
}

TEST(Ladder, TheMildestCureComesFirst) {
  for (const Action action : {Action::kResetDevice, Action::kRebootNode, Action::kReplaceNode}) {
    const Rung rung = choose_rung(ill(action), {}, kNow);
    EXPECT_EQ(rung.action, action);
    EXPECT_EQ(rung.reason, "");
  }
}

TEST(Ladder, ASymptomThatIsBackGetsTheNextRung) {
  NodeHealth health;
  health.repairs = {repaired(Action::kResetDevice, minutes(10))};
  Rung rung = choose_rung(ill(Action::kResetDevice), health, kNow);
  EXPECT_EQ(rung.action, Action::kRebootNode);
  EXPECT_THAT(rung.reason, HasSubstr("back 600 s after reset_device"));
  health.repairs.push_back(repaired(Action::kRebootNode, minutes(5)));
  EXPECT_EQ(choose_rung(ill(Action::kResetDevice), health, kNow).action, Action::kReplaceNode);
}

TEST(Ladder, AnotherDevicesIllnessIsAnother) {
  NodeHealth health;
  health.repairs = {repaired(Action::kResetDevice, minutes(10), "0000:aa:00")};
  EXPECT_EQ(choose_rung(ill(Action::kResetDevice), health, kNow).action, Action::kResetDevice);
}

TEST(Ladder, AfterADayItBeginsAnew) {
  NodeHealth health;
  health.repairs = {repaired(Action::kRebootNode, kRecurrence + seconds(1))};
  EXPECT_EQ(choose_rung(ill(Action::kResetDevice), health, kNow).action, Action::kResetDevice);
}

TEST(Ladder, ALemonIsReplacedWhateverItHas) {
  NodeHealth health;
  for (int day = 2; day <= 4; ++day)
    health.repairs.push_back(
        repaired(Action::kResetDevice, minutes(day * 24 * 60), "0000:0" + std::to_string(day)));
  const Rung rung = choose_rung(ill(Action::kResetDevice), health, kNow);
  EXPECT_EQ(rung.action, Action::kReplaceNode);
  EXPECT_THAT(rung.reason, HasSubstr("repaired 3 times within a week"));
  health.repairs.front().at = kNow + (Duration{} - kLemonWindow - seconds(1));
  EXPECT_EQ(choose_rung(ill(Action::kResetDevice), health, kNow).action, Action::kResetDevice);
}

TEST(Ladder, FaultsAreKeptByKindAndDeviceAndBounded) {
  NodeHealth health;
  keep_fault(health, ill(Action::kNone), true, kNow);
  keep_fault(health, ill(Action::kNone), true, kNow + seconds(1));  // told again
  ASSERT_EQ(health.faults.size(), 1u);
  EXPECT_EQ(health.faults[0].times, 1u);
  EXPECT_EQ(health.faults[0].first, kNow);
  EXPECT_TRUE(clear_fault(health, "gpu_recovery", "0000:3b:00", kNow + seconds(2)));
  EXPECT_FALSE(clear_fault(health, "gpu_recovery", "0000:3b:00", kNow + seconds(2)));
  keep_fault(health, ill(Action::kNone), true, kNow + seconds(3));
  EXPECT_EQ(health.faults[0].times, 2u);
  for (int i = 0; i < 30; ++i)
    keep_fault(health, ill(Action::kNone, std::to_string(i)), false, kNow);
  EXPECT_EQ(health.faults.size(), kFaultsKept);
  EXPECT_TRUE(health.faults[0].present) << "what lasts is kept";
}

TEST(Ladder, AnObstacleIsWhatLastsAndKeepsWorkAway) {
  NodeHealth health;
  keep_fault(health, ill(Action::kNone, "a"), true, kNow);
  keep_fault(health, ill(Action::kRestartOnOtherNodes, "b"), true, kNow);
  ASSERT_NE(present_obstacle(health), nullptr);
  EXPECT_EQ(present_obstacle(health)->device, "b");
  clear_fault(health, "gpu_recovery", "b", kNow);
  EXPECT_EQ(present_obstacle(health), nullptr);
}

}  // namespace
}  // namespace holdfast
