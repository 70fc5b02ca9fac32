#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/fault.h"
#include "model/readings.h"

// The rules of what probes read, as data: which condition of a device or a host is a fault, what is
// done about it, and who says so. Kernel-log lines have theirs in core/diagnose/kernel_rules.h.
// `holdfast explain KIND` prints them.

namespace holdfast {

struct HealthRule {
  std::string_view kind;
  CauseClass cause = CauseClass::kUnknown;
  // The mildest cure. kRestartOnOtherNodes: the node gets no new work while it lasts.
  Action action = Action::kNone;
  // Looks in a row that must show it before it counts, and without it before it is over.
  std::uint32_t looks = 1;
  std::string_view condition;
  std::string_view why;  // why this action; never empty
  std::string_view source;
};

[[nodiscard]] std::span<const HealthRule> device_rules();
[[nodiscard]] std::span<const HealthRule> host_rules();
// nullptr: no such kind.
[[nodiscard]] const HealthRule* health_rule(std::string_view kind);

// What was seen of the machine before, to compare with.
struct DevicesBaseline {
  std::uint32_t most = 0;  // devices
  std::vector<DeviceReading> first, last;
};
struct HostBaseline {
  std::optional<HostReading> first, last;
};

// The conditions that hold now, each as a fault with its evidence in `line`. Pure; `took`: since
// the reading before, for what is a rate.
[[nodiscard]] std::vector<Fault> judge_devices(const DevicesBaseline& before,
                                               const DevicesReading& now, Duration took);
[[nodiscard]] std::vector<Fault> judge_host(const HostBaseline& before, const HostReading& now,
                                            Duration took);

// A fault of this rule. REQUIRES: there is such a rule.
[[nodiscard]] Fault fault_of(std::string_view kind, std::string device, std::string line);

// What the driver's own recovery action (NVML, Xid 154) asks for; kAskOperator for one that is not
// known.
[[nodiscard]] Action recovery_action(std::int32_t code);

// "0000:3b:00.0", "00000000:3B:00.0" -> "0000:3b:00", as the kernel log's Xids name it.
[[nodiscard]] std::string short_pci(std::string_view address);

}  // namespace holdfast
