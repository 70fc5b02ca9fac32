#include "core/health/health_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

std::vector<std::string> kinds(const std::vector<Fault>& faults) {
  std::vector<std::string> found;
  for (const Fault& fault : faults) found.push_back(fault.kind);
  return found;
}

class Watch : public testing::Test {
 protected:
  Watch() {
    for (std::uint32_t i = 0; i < 2; ++i) {
      DeviceReading device{.index = i, .pci = "0000:0" + std::to_string(i) + ":00.0"};
      device.temperature_c = 40;
      device.slowdown_c = 87;
      reading_.has_library = true;
      reading_.devices.push_back(device);
    }
    look();
  }
  HealthWatch::News look() {
    at_ = at_ + seconds(10);
    return watch_.devices(at_, reading_);
  }
  HealthWatch watch_;
  DevicesReading reading_;
  Instant at_;
};

TEST_F(Watch, IsToldOnceAndItsEndOnce) {
  reading_.devices[1].ecc_uncorrected_volatile = 1;
  EXPECT_THAT(kinds(look().begun), ElementsAre("gpu_ecc_uncorrected"));
  EXPECT_THAT(look().begun, IsEmpty());
  EXPECT_THAT(kinds(watch_.present()), ElementsAre("gpu_ecc_uncorrected"));
  reading_.devices[1].ecc_uncorrected_volatile = 0;
  EXPECT_THAT(look().over, ElementsAre(Pair("gpu_ecc_uncorrected", "0000:01:00")));
  EXPECT_THAT(look().over, IsEmpty());
  EXPECT_THAT(watch_.present(), IsEmpty());
}

TEST_F(Watch, WhatNeedsTwoLooksIsNotToldForOne) {
  reading_.devices[0].temperature_c = 90;
  EXPECT_THAT(look().begun, IsEmpty());
  reading_.devices[0].temperature_c = 80;
  EXPECT_THAT(look().begun, IsEmpty());
  reading_.devices[0].temperature_c = 90;
  EXPECT_THAT(look().begun, IsEmpty()) << "not in a row";
  EXPECT_THAT(kinds(look().begun), ElementsAre("gpu_hot"));
  // Nor is it over after one.
  reading_.devices[0].temperature_c = 80;
  EXPECT_THAT(look().over, IsEmpty());
  reading_.devices[0].temperature_c = 90;
  EXPECT_THAT(look().begun, IsEmpty());
  reading_.devices[0].temperature_c = 80;
  look();
  EXPECT_THAT(look().over, ElementsAre(Pair("gpu_hot", "0000:00:00")));
}

TEST_F(Watch, AnotherActionIsNews) {
  reading_.devices[0].recovery_action = 1;
  EXPECT_EQ(look().begun.at(0).action, Action::kResetDevice);
  reading_.devices[0].recovery_action = 2;
  EXPECT_EQ(look().begun.at(0).action, Action::kRebootNode);
}

TEST_F(Watch, AProbeThatHangsEndsNothingThatWasSeen) {
  reading_.devices[0].recovery_action = 1;
  look();
  EXPECT_THAT(kinds(watch_.probe_late(true, false, "no answer").begun),
              ElementsAre("device_probe_slow"));
  const auto stuck = watch_.probe_late(true, true, "still there");
  EXPECT_THAT(kinds(stuck.begun), ElementsAre("device_probe_stuck"));
  EXPECT_EQ(stuck.begun[0].action, Action::kRebootNode);
  EXPECT_THAT(stuck.over, IsEmpty());
  // It answers again.
  EXPECT_THAT(look().over,
              ElementsAre(Pair("device_probe_slow", ""), Pair("device_probe_stuck", "")));
}

TEST_F(Watch, AfterAResetWhatIsStillThereIsNews) {
  reading_.devices[0].rows_failed = true;
  EXPECT_THAT(kinds(look().begun), ElementsAre("gpu_rows_failed"));
  watch_.devices_reset();
  EXPECT_THAT(kinds(look().begun), ElementsAre("gpu_rows_failed"));
}

TEST_F(Watch, DevicesAndHostAreApart) {
  reading_.devices[0].recovery_action = 1;
  look();
  HostReading host;
  EXPECT_THAT(watch_.host(at_, host).over, IsEmpty());
}

}  // namespace
}  // namespace holdfast
