#pragma once

// A recorded machine: what the accelerators of one server answered, as a YAML file. The test double
// of NVIDIA's library (nvml_double.cc) answers from it, so that the real probe and the real rules
// can be driven on a machine without a card; `holdfast chaos gpu` changes it.

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/enum_text.h"
#include "model/readings.h"

namespace holdfast {

struct RecordedMachine {
  std::string source;  // of the recording: which machine, or that nobody's it is
  DevicesReading reading;
  // Calls of the library for this device do not return, as in a driver that hangs. -1: none.
  std::int32_t hangs_at = -1;
  std::set<std::string> missing;  // PCI addresses of devices that are not on the bus
  // What cures a device, where it is not a reset.
  enum class Cure { kReset, kReboot, kNothing };
  std::map<std::string, Cure> cured_by;  // by PCI address
};
template <>
inline constexpr auto kWords<RecordedMachine::Cure> =
    std::to_array<std::string_view>({"reset", "reboot", "nothing"});

// kUnparsable or kInvalidField name the place.
[[nodiscard]] Result<RecordedMachine> parse_recorded_machine(const std::string& yaml,
                                                             const std::string& name);
[[nodiscard]] std::string write_recorded_machine(const RecordedMachine& machine);

// One change, as `holdfast chaos gpu` sends it: {"device": 3, "ecc_uncorrected": 1, ...}, JSON.
//   ecc_uncorrected N: so many more, and the driver asks for a reset where it tells what it asks
//   for; ecc_corrected N: more; rows_pending, rows_failed: true;
//   pages_retired N; temperature C; clock_reasons BITS; pcie_width N; pcie_replays N: more;
//   nvlink_down L; nvlink_recoveries N: more, on link 0; recovery_action N; lost, missing,
//   hang, heal: true; cured_by: "reset" | "reboot" | "nothing".
[[nodiscard]] Result<void> change_recorded_machine(RecordedMachine& machine,
                                                   const std::string& change);

// What a reset of a device (none named: of all), or a restart of the machine, leaves.
void reset_recorded_devices(RecordedMachine& machine, const std::vector<std::string>& devices,
                            bool restart);

}  // namespace holdfast
