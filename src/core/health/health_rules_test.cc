#include "core/health/health_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/diagnose/kernel_rules.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// An eight-GPU server on which nothing is wrong.
DeviceReading well(std::uint32_t index) {
  DeviceReading device{.index = index, .pci = "00000000:" + std::to_string(10 + index) + ":00.0"};
  device.ecc_uncorrected_volatile = device.ecc_uncorrected_aggregate = 0;
  device.rows_pending = device.rows_failed = false;
  device.temperature_c = 45;
  device.slowdown_c = 87;
  device.shutdown_c = 92;
  device.clock_reasons = 0x1;  // idle
  device.pcie_generation = device.pcie_generation_max = 5;
  device.pcie_width = device.pcie_width_max = 16;
  device.pcie_replays = 3;
  device.performance_state = 0;
  device.recovery_action = 0;
  for (std::uint32_t link = 0; link < 18; ++link)
    device.links.push_back({.link = link, .active = true, .recoveries = 0});
  return device;
}
DevicesReading machine() {
  DevicesReading reading{.has_library = true};
  for (std::uint32_t i = 0; i < 8; ++i) reading.devices.push_back(well(i));
  return reading;
}

class DeviceRules : public testing::Test {
 protected:
  DeviceRules() {
    before_.most = 8;
    before_.first = before_.last = machine().devices;
  }
  DeviceReading& third() { return now_.devices[3]; }
  std::vector<Fault> judged() { return judge_devices(before_, now_, seconds(10)); }
  // The one fault, which must be of the third device.
  Fault one(Action action) {
    const std::vector<Fault> faults = judged();
    EXPECT_EQ(faults.size(), 1u);
    if (faults.empty()) return {};
    EXPECT_EQ(faults[0].device, "0000:13:00");
    EXPECT_EQ(faults[0].action, action) << faults[0].kind;
    EXPECT_FALSE(faults[0].line.empty());
    return faults[0];
  }

  DevicesBaseline before_;
  DevicesReading now_ = machine();
};

TEST_F(DeviceRules, NothingIsFoundOnAWellMachineOrWithoutALibrary) {
  EXPECT_THAT(judged(), IsEmpty());
  EXPECT_THAT(judge_devices({}, machine(), {}), IsEmpty());
  EXPECT_THAT(judge_devices(before_, {}, seconds(10)), IsEmpty());
}

TEST_F(DeviceRules, AnUncorrectedErrorIsCuredByAReset) {
  third().recovery_action.reset();  // an older driver, which does not tell
  third().ecc_uncorrected_volatile = 1;
  third().ecc_uncorrected_aggregate = 4;
  const Fault fault = one(Action::kResetDevice);
  EXPECT_EQ(fault.kind, "gpu_ecc_uncorrected");
  EXPECT_THAT(fault.line, HasSubstr("1 volatile, 4 aggregate"));
}

TEST_F(DeviceRules, TheDriversOwnActionComesBeforeOurs) {
  third().ecc_uncorrected_volatile = 1;
  EXPECT_THAT(judged(), IsEmpty()) << "contained: the driver asks for nothing";
  for (const auto& [code, action] : {std::pair{1, Action::kResetDevice},
                                     {2, Action::kRebootNode},
                                     {3, Action::kRestartRanks},
                                     {4, Action::kResetDevice},
                                     {99, Action::kAskOperator}}) {
    third().recovery_action = code;
    EXPECT_EQ(one(action).kind, "gpu_recovery");
  }
}

TEST_F(DeviceRules, WhatWaitsForTheNextResetTouchesNothing) {
  third().rows_pending = true;
  EXPECT_EQ(one(Action::kNone).kind, "gpu_rows_pending");
  third().rows_pending = false;
  third().pages_pending = true;
  EXPECT_EQ(one(Action::kNone).kind, "gpu_pages_pending");
}

TEST_F(DeviceRules, NothingIsReplacedOnOneLook) {
  for (const HealthRule& rule : device_rules()) EXPECT_NE(rule.action, Action::kReplaceNode);
  for (const HealthRule& rule : host_rules()) EXPECT_NE(rule.action, Action::kReplaceNode);
}

TEST_F(DeviceRules, HeatIsMeasuredByTheDevicesOwnThreshold) {
  third().temperature_c = 86;
  EXPECT_THAT(judged(), IsEmpty());
  third().temperature_c = 87;
  const Fault fault = one(Action::kRestartOnOtherNodes);
  EXPECT_EQ(fault.cause, CauseClass::kThermal);
  EXPECT_THAT(fault.line, HasSubstr("slows down at 87 C, shuts down at 92 C"));
  third().slowdown_c = 95;  // another model
  EXPECT_THAT(judged(), IsEmpty());
}

TEST_F(DeviceRules, ClockReasonsAreToldApart) {
  third().clock_reasons = 0x40;
  EXPECT_EQ(one(Action::kNone).kind, "gpu_throttled_heat");
  third().clock_reasons = 0x48;
  EXPECT_EQ(one(Action::kNone).kind, "gpu_throttled_heat");
  third().clock_reasons = 0x80;
  EXPECT_EQ(one(Action::kAskOperator).kind, "gpu_power_brake");
  third().clock_reasons = 0x4;  // its own power cap: as it should be under load
  EXPECT_THAT(judged(), IsEmpty());
}

TEST_F(DeviceRules, AnIdleDeviceMayLowerItsGenerationButNotItsWidth) {
  third().pcie_generation = 1;
  third().performance_state = 8;
  EXPECT_THAT(judged(), IsEmpty());
  third().performance_state = 0;
  EXPECT_EQ(one(Action::kAskOperator).kind, "gpu_pcie_generation");
  third().performance_state = 8;
  third().pcie_width = 8;
  EXPECT_THAT(one(Action::kAskOperator).line, HasSubstr("x8 of x16"));
}

TEST_F(DeviceRules, ReplaysAreARate) {
  third().pcie_replays = 4;  // 6 a minute
  EXPECT_THAT(judged(), IsEmpty());
  third().pcie_replays = 5;  // 12 a minute
  EXPECT_EQ(one(Action::kNone).kind, "gpu_pcie_replays");
  third().pcie_replays = 0;  // the driver was loaded anew
  EXPECT_THAT(judged(), IsEmpty());
}

TEST_F(DeviceRules, ALinkThatWasUpIsMissed) {
  third().links[7].active = false;
  EXPECT_THAT(one(Action::kResetDevice).line, HasSubstr("NVLink 7 is down; 17 of 18 are up"));
  third().links[9].active = false;
  EXPECT_THAT(one(Action::kResetDevice).line, HasSubstr("NVLink 9")) << "both, in one finding";
  before_.first = before_.last = now_.devices;  // built so
  EXPECT_THAT(judged(), IsEmpty());
  third().links[1].recoveries = 2;
  EXPECT_EQ(one(Action::kNone).kind, "gpu_nvlink_errors");
}

TEST_F(DeviceRules, OneThatIsLostOrGoneNeedsAReboot) {
  third().error = 15;
  EXPECT_EQ(one(Action::kRebootNode).kind, "gpu_lost");
  now_.devices.erase(now_.devices.begin() + 3);
  const std::vector<Fault> faults = judged();
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].kind, "gpu_missing");
  EXPECT_EQ(faults[0].action, Action::kRebootNode);
  EXPECT_THAT(faults[0].line, HasSubstr("7 of 8 devices are there; not there: 0000:13:00"));
}

TEST_F(DeviceRules, WhatDcgmFindsKeepsNewWorkAwayAndReplacesNothing) {
  now_.dcgm = {{.entity = "GPU 3",
                .gpu = 3,
                .system = "Memory system",
                .failure = true,
                .text = "A DBE has occurred."},
               {.entity = "GPU 3", .gpu = 3, .system = "Thermal system", .text = "Throttled."},
               {.entity = "NvSwitch 1", .system = "NVLINK system", .failure = true}};
  const std::vector<Fault> faults = judged();
  ASSERT_EQ(faults.size(), 3u);
  EXPECT_EQ(faults[0].kind, "gpu_dcgm_failure");
  EXPECT_EQ(faults[0].device, "0000:13:00");
  EXPECT_EQ(faults[0].cause, CauseClass::kAccelerator);
  EXPECT_EQ(faults[0].action, Action::kRestartOnOtherNodes);
  EXPECT_EQ(faults[0].line, "DCGM: GPU 3, Memory system: A DBE has occurred.");
  EXPECT_EQ(faults[1].kind, "gpu_dcgm_warning");
  EXPECT_EQ(faults[1].cause, CauseClass::kThermal);
  EXPECT_EQ(faults[1].action, Action::kNone);
  EXPECT_EQ(faults[2].device, "");
  EXPECT_EQ(faults[2].cause, CauseClass::kInterconnect);
}

TEST_F(DeviceRules, ALibraryThatFailsIsForAPerson) {
  const DevicesReading broken{.has_library = true, .error = 18, .error_text = "versions differ"};
  const std::vector<Fault> faults = judge_devices(before_, broken, seconds(10));
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].action, Action::kAskOperator);
}

// --- the host

class HostRules : public testing::Test {
 protected:
  static HostReading host() {
    HostReading reading{.memory_bytes = 1ull << 40, .memory_available_bytes = 1ull << 39};
    reading.mounts = {{"/", "/dev/sda1", false, 1ull << 40, 1ull << 39, 1 << 20, 1 << 19}};
    reading.interfaces = {{"eth0", true, 0, 0}, {"mlx5_0/1", true, 0, 0}, {"eth1", false, 0, 0}};
    reading.drives = {{"nvme0", "live", 0, 100, 10, 3}};
    reading.clock_synchronized = true;
    reading.clock_offset_ns = 1000;
    reading.pci_devices = {"0000:3b:00.0 10de accelerator"};
    return reading;
  }
  std::vector<std::string> kinds() {
    std::vector<std::string> found;
    for (const Fault& fault : judge_host({host(), host()}, now_, seconds(10))) {
      EXPECT_FALSE(fault.line.empty());
      found.push_back(fault.kind);
    }
    return found;
  }
  HostReading now_ = host();
};

TEST_F(HostRules, NothingIsFoundOnAWellHost) {
  EXPECT_THAT(kinds(), IsEmpty());
  EXPECT_THAT(judge_host({}, host(), {}), IsEmpty());
  EXPECT_THAT(judge_host({}, {}, {}), IsEmpty()) << "a host that tells nothing";
}

TEST_F(HostRules, EachConditionHasItsKind) {
  const std::vector<std::pair<const char*, void (*)(HostReading&)>> cases{
      {"memory_low", [](HostReading& h) { h.memory_available_bytes = 99 << 20; }},
      {"memory_stalls", [](HostReading& h) { h.memory_stall = 600; }},
      {"io_stalls", [](HostReading& h) { h.io_stall = 700; }},
      {"blocked_process",
       [](HostReading& h) {
         h.blocked = {{7, "python3", "nfs_wait"}};
       }},
      {"zombies", [](HostReading& h) { h.zombies = 501; }},
      {"space_low", [](HostReading& h) { h.mounts[0].bytes_free = 50ull << 30; }},
      {"space_full", [](HostReading& h) { h.mounts[0].bytes_free = 200 << 20; }},
      {"inodes_low", [](HostReading& h) { h.mounts[0].inodes_free = 9; }},
      {"read_only", [](HostReading& h) { h.mounts[0].read_only = true; }},
      {"clock_off", [](HostReading& h) { h.clock_offset_ns = -600'000'000; }},
      {"clock_unsynchronized", [](HostReading& h) { h.clock_synchronized = false; }},
      {"link_down", [](HostReading& h) { h.interfaces[1].up = false; }},
      {"link_flaps", [](HostReading& h) { h.interfaces[0].downs = 1; }},
      {"link_errors", [](HostReading& h) { h.interfaces[0].errors = 5; }},
      {"nvme_dead", [](HostReading& h) { h.drives[0].state = "dead"; }},
      {"nvme_wear", [](HostReading& h) { h.drives[0].critical_warning = 1; }},
      {"device_missing", [](HostReading& h) { h.pci_devices.clear(); }},
  };
  for (const auto& [kind, change] : cases) {
    now_ = host();
    change(now_);
    EXPECT_THAT(kinds(), ElementsAre(kind));
  }
}

TEST_F(HostRules, WhatWasSoFromTheFirstLookIsTheMachinesOwn) {
  HostReading first = host();
  first.mounts[0].read_only = true;
  EXPECT_THAT(judge_host({first, first}, first, {}), IsEmpty());
  now_.interfaces[2].up = false;  // was never up
  EXPECT_THAT(kinds(), IsEmpty());
}

// --- the tables

TEST(HealthRules, EachHasCauseReasonAndSourceAndAKindOfItsOwn) {
  std::set<std::string_view> kinds;
  for (const std::span<const HealthRule> rules : {device_rules(), host_rules()})
    for (const HealthRule& rule : rules) {
      EXPECT_TRUE(kinds.insert(rule.kind).second) << rule.kind;
      EXPECT_FALSE(rule.why.empty() || rule.source.empty() || rule.condition.empty()) << rule.kind;
      EXPECT_GE(rule.looks, 1u) << rule.kind;
      EXPECT_EQ(health_rule(rule.kind)->action, rule.action);
    }
  EXPECT_EQ(health_rule("nonsense"), nullptr);
}

// A kind that the kernel log has too means the same there.
TEST(HealthRules, AgreeWithTheKernelLogs) {
  std::size_t shared = 0;
  for (const KernelRule& rule : kernel_rules())
    if (const HealthRule* same = health_rule(rule.kind)) {
      ++shared;
      EXPECT_EQ(same->action, rule.action) << rule.kind;
      EXPECT_EQ(same->cause, rule.cause) << rule.kind;
    }
  EXPECT_GE(shared, 2u);  // gpu_lost, read_only
}

TEST(HealthRules, AddressesAreThoseOfTheKernelLog) {
  EXPECT_EQ(short_pci("00000000:3B:00.0"), "0000:3b:00");
  EXPECT_EQ(short_pci("0000:3b:00.0"), "0000:3b:00");
  EXPECT_EQ(short_pci("0000:3b:00"), "0000:3b:00");
  EXPECT_EQ(short_pci(""), "");
}

}  // namespace
}  // namespace holdfast
