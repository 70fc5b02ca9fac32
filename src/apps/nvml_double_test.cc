// The real reader of NVIDIA's library (io/nvml) through the real dynamic loader, and at the other
// end the test double of that library.

#include "apps/nvml_double.h"

#include <stdlib.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/health/health_watch.h"
#include "drivers/recorded_machine.h"
#include "io/files.h"
#include "io/nvml.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class NvmlDouble : public ScratchFolder {
 protected:
  NvmlDouble() {
    EXPECT_TRUE(write_file_atomic(library_, nvml_double(), 0755).ok());
    EXPECT_TRUE(write_file_atomic(machine_, R"(
driver: "570.1"
device_defaults: {temperature_c: 44, slowdown_c: 87, shutdown_c: 92, rows_pending: false,
                  rows_failed: false, rows_remapped_corrected: 1, rows_remapped_uncorrected: 0,
                  recovery_action: 0, pcie_width: 16, pcie_width_max: 16, performance_state: 0,
                  ecc_corrected_volatile: 5, links: [{link: 0, active: true, recoveries: 0},
                                                     {link: 3, active: false}]}
devices:
  - {pci: "0000:3b:00.0", name: "a GPU", uuid: "GPU-1"}
  - {pci: "0000:5e:00.0"}
)",
                                  0600)
                    .ok());
    ::setenv("HOLDFAST_RECORDED_MACHINE", machine_.c_str(), 1);
  }
  ~NvmlDouble() override { ::unsetenv("HOLDFAST_RECORDED_MACHINE"); }
  void change(const std::string& what) {
    auto machine = parse_recorded_machine(*read_file(machine_, 1 << 20), machine_);
    ASSERT_TRUE(machine.ok());
    ASSERT_TRUE(change_recorded_machine(*machine, what).ok());
    ASSERT_TRUE(write_file_atomic(machine_, write_recorded_machine(*machine), 0600).ok());
  }
  std::vector<std::string> kinds(const DevicesReading& reading) {
    std::vector<std::string> found;
    for (const Fault& fault : judge_devices(before_, reading, seconds(10)))
      found.push_back(fault.kind + " " + fault.device);
    return found;
  }

  std::string library_ = path("libnvidia-ml.so.1");
  std::string machine_ = path("machine.yaml");
  DevicesBaseline before_;
};

TEST_F(NvmlDouble, WhatTheFileSaysIsRead) {
  Result<Nvml> nvml = Nvml::load(library_);
  ASSERT_TRUE(nvml.ok()) << nvml.error().text();
  const DevicesReading reading = nvml->read();
  EXPECT_EQ(reading.error, 0);
  EXPECT_EQ(reading.driver, "570.1");
  ASSERT_EQ(reading.devices.size(), 2u);
  const DeviceReading& first = reading.devices[0];
  EXPECT_EQ(first.pci, "0000:3b:00.0");
  EXPECT_EQ(first.name, "a GPU");
  EXPECT_EQ(first.uuid, "GPU-1");
  EXPECT_EQ(first.temperature_c, 44);
  EXPECT_EQ(first.slowdown_c, 87);
  EXPECT_EQ(first.shutdown_c, 92);
  EXPECT_EQ(first.rows_remapped_corrected, 1u);
  EXPECT_EQ(first.rows_failed, false);
  EXPECT_EQ(first.recovery_action, 0);
  EXPECT_EQ(first.ecc_corrected_volatile, 5u);
  EXPECT_EQ(first.ecc_uncorrected_volatile, std::nullopt) << "the file does not tell";
  EXPECT_EQ(first.power_mw, std::nullopt);
  ASSERT_EQ(first.links.size(), 2u);
  EXPECT_EQ(first.links[1].link, 3u);
  EXPECT_FALSE(first.links[1].active);
}

TEST_F(NvmlDouble, AChangeIsSeenWithTheNextLook) {
  Result<Nvml> nvml = Nvml::load(library_);
  ASSERT_TRUE(nvml.ok());
  before_.first = before_.last = nvml->read().devices;
  before_.most = 2;
  EXPECT_THAT(kinds(nvml->read()), ElementsAre());
  change(R"({"device": 1, "ecc_uncorrected": 1})");
  EXPECT_THAT(kinds(nvml->read()), ElementsAre("gpu_recovery 0000:5e:00"));
  change(R"({"device": 1, "lost": true})");
  EXPECT_THAT(kinds(nvml->read()), ElementsAre("gpu_lost 0000:5e:00"));
  change(R"({"device": 1, "missing": true})");
  EXPECT_THAT(kinds(nvml->read()), ElementsAre("gpu_missing "));
  change(R"({"device": 1, "heal": true})");
  change(R"({"device": 0, "nvlink_down": 0, "temperature": 88, "pcie_width": 8})");
  EXPECT_THAT(kinds(nvml->read()), ElementsAre("gpu_hot 0000:3b:00", "gpu_pcie_width 0000:3b:00",
                                               "gpu_nvlink_down 0000:3b:00"));
}

TEST_F(NvmlDouble, WithoutItsFileTheDriverIsNotLoaded) {
  Result<Nvml> nvml = Nvml::load(library_);
  ASSERT_TRUE(nvml.ok());
  ASSERT_TRUE(remove_tree(machine_).ok());
  const DevicesReading reading = nvml->read();
  EXPECT_EQ(reading.error, 9);
  EXPECT_THAT(reading.error_text, HasSubstr("not loaded"));
  EXPECT_THAT(kinds(reading), ElementsAre("gpu_driver "));
}

TEST(Nvml, ALibraryThatIsNotThereIsNoFault) {
  const auto missing = Nvml::load("libnvidia-ml-of-nobody.so.1");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Errc::kNotFound);
  const auto other = Nvml::load("libc.so.6");
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, Errc::kInvalidField);
}

}  // namespace
}  // namespace holdfast
