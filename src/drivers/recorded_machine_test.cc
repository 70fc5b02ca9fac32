#include "drivers/recorded_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "io/files.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

const char* const kTwo = R"(
source: a test
driver: "570.1"
device_defaults:
  recovery_action: 0
  pcie_width_max: 16
  slowdown_c: 87
  links:
    - {link: 0, active: true, replays: 0, recoveries: 0}
devices:
  - {pci: "0000:3b:00.0", pcie_width: 16}
  - {pci: "0000:5e:00.0", pcie_width: 8, cured_by: reboot}
)";

RecordedMachine two() {
  auto machine = parse_recorded_machine(kTwo, "two.yaml");
  EXPECT_TRUE(machine.ok()) << machine.error().text();
  return std::move(machine).value();
}
std::string error_of(const std::string& yaml) {
  const auto machine = parse_recorded_machine(yaml, "m.yaml");
  return machine.ok() ? std::string() : machine.error().text();
}

TEST(RecordedMachine, DefaultsAreForAllAndADeviceHasItsOwn) {
  const RecordedMachine machine = two();
  ASSERT_EQ(machine.reading.devices.size(), 2u);
  EXPECT_EQ(machine.reading.driver, "570.1");
  EXPECT_EQ(machine.reading.devices[1].index, 1u);
  EXPECT_EQ(machine.reading.devices[1].pcie_width, 8u);
  EXPECT_EQ(machine.reading.devices[1].links.size(), 1u);
  EXPECT_EQ(machine.reading.devices[1].temperature_c, std::nullopt) << "not told";
}

TEST(RecordedMachine, IsWrittenAsItIsRead) {
  RecordedMachine machine = two();
  machine.missing.insert("0000:3b:00.0");
  machine.hangs_at = 1;
  const std::string text = write_recorded_machine(machine);
  const auto again = parse_recorded_machine(text, "again.yaml");
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_EQ(write_recorded_machine(*again), text);
  EXPECT_EQ(again->cured_by, machine.cured_by);
  EXPECT_EQ(again->missing, machine.missing);
  EXPECT_EQ(again->hangs_at, 1);
}

// One was written by hand, one was recorded.
TEST(RecordedMachine, ReadsThoseOfTheTests) {
  for (const auto& [name, devices] : {std::pair("8-gpu-server", 8), std::pair("h200", 1)}) {
    const std::string path = std::string(HF_MACHINES "/") + name + ".yaml";
    const auto text = read_file(path, 1 << 20);
    ASSERT_TRUE(text.ok()) << path;
    const auto machine = parse_recorded_machine(*text, path);
    ASSERT_TRUE(machine.ok()) << machine.error().text();
    EXPECT_EQ(machine->reading.devices.size(), devices);
  }
}

TEST(RecordedMachine, MistakesAreNamed) {
  EXPECT_THAT(error_of("[1, 2]"), HasSubstr("m.yaml"));
  EXPECT_THAT(error_of("devices: 3"), HasSubstr("devices: give a list"));
  EXPECT_THAT(error_of("devices: [{pci: a, warmth: 3}]"), HasSubstr("devices[0]: warmth"));
  EXPECT_THAT(error_of("devices: [{temperature_c: 3}]"), HasSubstr("pci: missing"));
  EXPECT_THAT(error_of("devices: [{pci: a, temperature_c: hot}]"), HasSubstr("temperature_c"));
  EXPECT_THAT(error_of("devices: [{pci: a, cured_by: prayer}]"), HasSubstr("cured_by"));
  EXPECT_THAT(error_of("devices: []\ncolour: red"), HasSubstr("colour"));
  EXPECT_THAT(error_of("devices: ["), HasSubstr("m.yaml"));
}

TEST(RecordedMachine, ChangesAreAllOrNothing) {
  RecordedMachine machine = two();
  const auto change = [&](const char* what) {
    const auto changed = change_recorded_machine(machine, what);
    return changed.ok() ? std::string() : changed.error().text();
  };
  EXPECT_EQ(change(R"({"device": 0, "ecc_uncorrected": 2, "temperature": 90})"), "");
  const DeviceReading& first = machine.reading.devices[0];
  EXPECT_EQ(first.ecc_uncorrected_volatile, 2u);
  EXPECT_EQ(first.ecc_uncorrected_aggregate, 2u);
  EXPECT_EQ(first.recovery_action, 1) << "as the driver would ask for";
  EXPECT_EQ(first.temperature_c, 90);
  EXPECT_THAT(change(R"({"device": 2, "lost": true})"), HasSubstr("devices 0 to 1"));
  EXPECT_THAT(change(R"({"device": 0})"), HasSubstr("what changes"));
  EXPECT_THAT(change(R"({"device": 0, "pcie_width": 4, "mood": 1})"), HasSubstr("mood"));
  EXPECT_EQ(first.pcie_width, 16u);
  EXPECT_THAT(change(R"({"device": 0, "pcie_width": -1})"), HasSubstr("whole number"));
  EXPECT_THAT(change("no json"), HasSubstr("device"));
}

TEST(RecordedMachine, AResetCuresWhatItCanAndARestartMore) {
  RecordedMachine machine = two();
  for (const char* device : {"0", "1"})
    ASSERT_TRUE(change_recorded_machine(
                    machine, R"({"ecc_uncorrected": 1, "device": )" + std::string(device) + "}")
                    .ok());
  reset_recorded_devices(machine, {"0000:3b:00"}, false);
  EXPECT_EQ(machine.reading.devices[0].recovery_action, 0);
  EXPECT_EQ(machine.reading.devices[0].ecc_uncorrected_volatile, 0u);
  EXPECT_EQ(machine.reading.devices[0].ecc_uncorrected_aggregate, 1u);
  EXPECT_EQ(machine.reading.devices[1].recovery_action, 1) << "not asked for";
  reset_recorded_devices(machine, {"0000:5e:00"}, false);
  EXPECT_EQ(machine.reading.devices[1].recovery_action, 1) << "cured by a restart";
  reset_recorded_devices(machine, {}, true);
  EXPECT_EQ(machine.reading.devices[1].recovery_action, 0);
}

TEST(RecordedMachine, ALostDeviceNeedsARestart) {
  RecordedMachine machine = two();
  ASSERT_TRUE(change_recorded_machine(machine, R"({"device": 0, "lost": true})").ok());
  ASSERT_TRUE(change_recorded_machine(machine, R"({"device": 1, "missing": true})").ok());
  machine.cured_by.clear();
  reset_recorded_devices(machine, {}, false);
  EXPECT_NE(machine.reading.devices[0].error, 0);
  EXPECT_TRUE(machine.missing.contains("0000:5e:00.0"));
  reset_recorded_devices(machine, {}, true);
  EXPECT_EQ(machine.reading.devices[0].error, 0);
  EXPECT_TRUE(machine.missing.empty());
}

}  // namespace
}  // namespace holdfast
