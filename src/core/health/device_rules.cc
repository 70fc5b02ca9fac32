// What NVML tells of accelerators.

#include <algorithm>
#include <array>

#include "core/health/health_rules.h"

namespace holdfast {
namespace {

constexpr std::string_view kMemoryGuide =
    "NVIDIA GPU memory error management, docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt";
constexpr std::string_view kRetirement =
    "NVIDIA dynamic page retirement, docs.nvidia.com/deploy/dynamic-page-retirement";
constexpr std::string_view kNvml = "NVIDIA NVML API reference, docs.nvidia.com/deploy/nvml-api";
constexpr std::string_view kDebug =
    "NVIDIA GPU debug guidelines, docs.nvidia.com/deploy/gpu-debug-guidelines";
constexpr std::string_view kXids =
    "NVIDIA Xid catalogue, docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html";
constexpr std::string_view kDcgm = "NVIDIA DCGM, dcgm_structs.h: limits of its health watches";
constexpr std::string_view kDcgmHealth =
    "NVIDIA DCGM user guide, docs.nvidia.com/datacenter/dcgm: background health checks";

// Codes of the library (nvmlReturn_t).
constexpr std::int32_t kGpuIsLost = 15, kResetRequired = 16;
// nvmlClocksEventReason*.
constexpr std::uint64_t kHwSlowdown = 0x8, kSwThermal = 0x20, kHwThermal = 0x40, kPowerBrake = 0x80;
constexpr std::uint64_t kReplaysPerMinute = 8;  // DCGM_LIMIT_MAX_PCIREPLAY_RATE
constexpr std::uint32_t kPagesRetiredMost = 60;

constexpr auto kGpu = CauseClass::kAccelerator;
constexpr auto kNet = CauseClass::kInterconnect;
constexpr auto kHeat = CauseClass::kThermal;
constexpr auto kHost = CauseClass::kHost;

constexpr auto kRules = std::to_array<HealthRule>({
    {"gpu_lost", kGpu, Action::kRebootNode, 1, "the device answers NVML_ERROR_GPU_IS_LOST",
     "as Xid 79, whose action is to restart the machine: a reset needs a device that answers",
     kXids},
    {"gpu_missing", kGpu, Action::kRebootNode, 2, "fewer devices than the machine has shown",
     "as Xid 79; a restart counts the bus anew", kXids},
    {"gpu_reset_required", kGpu, Action::kResetDevice, 1,
     "the device answers NVML_ERROR_RESET_REQUIRED", "the driver's own word", kNvml},
    {"gpu_recovery", kGpu, Action::kAskOperator, 1,
     "the driver's recovery action of the device is not None",
     "the driver knows what the error was; its action is taken as it is, "
     "and one that is not known goes to a person",
     kNvml},
    {"gpu_ecc_uncorrected", kGpu, Action::kResetDevice, 1,
     "uncorrected ECC errors since the driver was loaded, and no recovery action by the driver",
     "as Xid 48: reset the device. Where the driver tells its recovery action, that counts "
     "instead: an error that was contained needs none",
     kMemoryGuide},
    {"gpu_rows_pending", kGpu, Action::kNone, 1, "a row remapping is pending",
     "as Xid 63: it takes effect at the next reset, and work may go on until then", kMemoryGuide},
    {"gpu_rows_failed", kGpu, Action::kResetDevice, 1, "a row could not be remapped",
     "as Xid 64, which NVIDIA has reset first; a flag that outlives the reset goes up the ladder",
     kMemoryGuide},
    {"gpu_pages_pending", kGpu, Action::kNone, 1, "a page retirement is pending (before Ampere)",
     "it takes effect when the driver is loaded anew, and work may go on until then", kRetirement},
    {"gpu_pages_retired", kGpu, Action::kAskOperator, 1, "60 or more pages are retired",
     "NVIDIA exchanges such a board; a person has to ask for that", kRetirement},
    {"gpu_hot", kHeat, Action::kRestartOnOtherNodes, 2,
     "the temperature is at or over the device's own slowdown threshold",
     "it slows the whole job, and is over by itself once the cooling works", kNvml},
    {"gpu_throttled_heat", kHeat, Action::kNone, 2,
     "clocks are held down for heat (HW or SW thermal slowdown)",
     "slow is not broken; it is evidence for who looks at a slow job", kNvml},
    {"gpu_power_brake", kHost, Action::kAskOperator, 2,
     "clocks are held down by the power brake of the machine's supply",
     "the supply asks for it, so it is for who looks after the power", kNvml},
    {"gpu_pcie_width", kNet, Action::kAskOperator, 2,
     "fewer PCIe lanes than device and slot have both",
     "most often a seat, a riser or a cable, which only a person can look at", kDebug},
    {"gpu_pcie_generation", kNet, Action::kAskOperator, 2,
     "a lower PCIe generation than device and slot have both, at full speed (P0)",
     "at rest it is lowered to save power; under load it is a seat, a riser or a cable", kDebug},
    {"gpu_pcie_replays", kNet, Action::kNone, 2, "more than 8 PCIe replays a minute",
     "the link repeated what was damaged; nothing was lost", kDcgm},
    {"gpu_nvlink_down", kNet, Action::kResetDevice, 2,
     "an NVLink is down while others of the device are up",
     "as Xid 74, whose workflow begins with a reset", kXids},
    {"gpu_nvlink_errors", kNet, Action::kNone, 2, "an NVLink recovered from errors",
     "the link repeated what was damaged; Xid 74 comes when it cannot", kDcgm},
    {"gpu_dcgm_failure", kGpu, Action::kRestartOnOtherNodes, 1,
     "a health watch of DCGM tells of a failure",
     "DCGM does not say what cures it, and no single tool's word resets or replaces a device: "
     "the node gets no new work while it lasts",
     kDcgmHealth},
    {"gpu_dcgm_warning", kGpu, Action::kNone, 1, "a health watch of DCGM warns",
     "it is evidence for who looks; what hurts a job has a rule of its own", kDcgmHealth},
    {"gpu_driver", kHost, Action::kAskOperator, 2, "the driver's library is there and fails",
     "a driver that is not loaded, or of another version than its library: "
     "most often an upgrade that somebody is in the middle of",
     kNvml},
    {"device_probe_slow", kHost, Action::kNone, 1,
     "the driver did not answer a probe in time, and the probe could be ended",
     "the next probe shows whether it was a moment", "Holdfast's own probe"},
    {"device_probe_stuck", kHost, Action::kRebootNode, 1,
     "a probe waits in the driver and cannot even be killed",
     "what waits in the kernel for good ends with the kernel", "Linux Documentation/process"},
});

std::string number(std::uint64_t value) {
  return std::to_string(value);
}

CauseClass cause_in_dcgm(std::string_view system) {
  if (system.starts_with("PCIe") || system.starts_with("NVLINK")) return kNet;
  if (system.starts_with("Thermal")) return kHeat;
  if (system.starts_with("Power") || system.starts_with("Driver")) return kHost;
  return kGpu;
}

// Judges one device after the other into one list.
class Judge {
 public:
  Judge(const DevicesBaseline& before, Duration took) : before_(before), took_(took) {}

  void device(const DeviceReading& now) {
    device_ = short_pci(now.pci);
    if (now.error == kGpuIsLost) return found("gpu_lost", "NVML: GPU is lost");
    if (now.error == kResetRequired) found("gpu_reset_required", "NVML: reset required");
    memory(now);
    clocks(now);
    const DeviceReading* last = find(before_.last, now);
    pcie(now, last);
    links(now, last, find(before_.first, now));
  }

  void dcgm(const DevicesReading& now) {
    for (const DcgmIncident& incident : now.dcgm) {
      const auto of = std::ranges::find_if(
          now.devices, [&](const DeviceReading& device) { return incident.gpu == device.index; });
      device_ = of == now.devices.end() ? std::string() : short_pci(of->pci);
      found(incident.failure ? "gpu_dcgm_failure" : "gpu_dcgm_warning",
            "DCGM: " + incident.entity + ", " + incident.system + ": " + incident.text);
      faults_.back().cause = cause_in_dcgm(incident.system);
    }
  }

  [[nodiscard]] std::vector<Fault> take() { return std::move(faults_); }

  void found(std::string_view kind, std::string line) {
    faults_.push_back(fault_of(kind, device_, std::move(line)));
  }

 private:
  static const DeviceReading* find(const std::vector<DeviceReading>& in, const DeviceReading& one) {
    const auto at = std::ranges::find(in, one.pci, &DeviceReading::pci);
    return at == in.end() ? nullptr : &*at;
  }

  void memory(const DeviceReading& now) {
    const std::uint64_t ecc = now.ecc_uncorrected_volatile.value_or(0);
    const std::string seen = "uncorrected ECC errors: " + number(ecc) + " volatile, " +
                             number(now.ecc_uncorrected_aggregate.value_or(0)) + " aggregate";
    if (now.recovery_action && *now.recovery_action != 0) {
      const Action action = recovery_action(*now.recovery_action);
      found("gpu_recovery", "NVML: GPU recovery action " + std::to_string(*now.recovery_action) +
                                " (" + std::string(word_of(action)) + "); " + seen);
      faults_.back().action = action;
    } else if (ecc > 0 && !now.recovery_action) {
      found("gpu_ecc_uncorrected", seen);
    }
    if (now.rows_failed.value_or(false)) found("gpu_rows_failed", "row remapping failed");
    if (now.rows_pending.value_or(false))
      found("gpu_rows_pending",
            "row remapping pending; remapped so far: " +
                number(now.rows_remapped_uncorrected.value_or(0)) + " for uncorrected, " +
                number(now.rows_remapped_corrected.value_or(0)) + " for corrected errors");
    if (now.pages_pending.value_or(false)) found("gpu_pages_pending", "page retirement pending");
    if (now.pages_retired.value_or(0) >= kPagesRetiredMost)
      found("gpu_pages_retired", number(*now.pages_retired) + " pages retired");
  }

  void clocks(const DeviceReading& now) {
    const std::string temperature =
        now.temperature_c ? ", " + std::to_string(*now.temperature_c) + " C" : std::string();
    if (now.temperature_c && now.slowdown_c && *now.slowdown_c > 0 &&
        *now.temperature_c >= *now.slowdown_c)
      found("gpu_hot", std::to_string(*now.temperature_c) + " C; slows down at " +
                           std::to_string(*now.slowdown_c) + " C, shuts down at " +
                           std::to_string(now.shutdown_c.value_or(0)) + " C");
    const std::uint64_t reasons = now.clock_reasons.value_or(0);
    const bool hot = (reasons & (kSwThermal | kHwThermal)) != 0;
    const bool brake = (reasons & kPowerBrake) != 0;
    if (hot) found("gpu_throttled_heat", "clock event reasons " + hex(reasons) + temperature);
    if (brake || ((reasons & kHwSlowdown) != 0 && !hot))
      found("gpu_power_brake", "clock event reasons " + hex(reasons) + ", " +
                                   number(now.power_mw.value_or(0) / 1000) + " W of " +
                                   number(now.power_limit_mw.value_or(0) / 1000) + " W");
  }

  void pcie(const DeviceReading& now, const DeviceReading* last) {
    if (now.pcie_width && now.pcie_width_max && *now.pcie_width > 0 &&
        *now.pcie_width < *now.pcie_width_max)
      found("gpu_pcie_width",
            "PCIe x" + number(*now.pcie_width) + " of x" + number(*now.pcie_width_max));
    if (now.pcie_generation && now.pcie_generation_max && now.performance_state == 0u &&
        *now.pcie_generation < *now.pcie_generation_max)
      found("gpu_pcie_generation", "PCIe generation " + number(*now.pcie_generation) + " of " +
                                       number(*now.pcie_generation_max) + " in P0");
    if (last == nullptr || !now.pcie_replays || !last->pcie_replays) return;
    if (*now.pcie_replays <= *last->pcie_replays || took_ <= Duration{}) return;
    const std::uint64_t grown = *now.pcie_replays - *last->pcie_replays;
    if (grown * 60'000 > kReplaysPerMinute * static_cast<std::uint64_t>(took_.ms()))
      found("gpu_pcie_replays",
            number(grown) + " PCIe replays in " + std::to_string(took_.ms() / 1000) + " s");
  }

  void links(const DeviceReading& now, const DeviceReading* last, const DeviceReading* first) {
    const auto up =
        static_cast<std::size_t>(std::ranges::count(now.links, true, &NvlinkReading::active));
    for (const NvlinkReading& link : now.links) {
      const auto of = [&](const DeviceReading* device) -> const NvlinkReading* {
        if (device == nullptr) return nullptr;
        const auto at = std::ranges::find(device->links, link.link, &NvlinkReading::link);
        return at == device->links.end() ? nullptr : &*at;
      };
      const NvlinkReading* was = of(first);
      const bool was_up = was != nullptr && was->active;
      // A machine may be built with fewer links than the device has: those were never up.
      if (!link.active && (was_up || (was == nullptr && 2 * up > now.links.size())))
        found("gpu_nvlink_down", "NVLink " + number(link.link) + " is down; " + number(up) +
                                     " of " + number(now.links.size()) + " are up");
      const NvlinkReading* before = of(last);
      if (before != nullptr && link.recoveries.value_or(0) > before->recoveries.value_or(0))
        found("gpu_nvlink_errors", "NVLink " + number(link.link) + ": recoveries " +
                                       number(before->recoveries.value_or(0)) + " -> " +
                                       number(*link.recoveries));
    }
  }

  static std::string hex(std::uint64_t value) {
    std::string digits;
    do digits.insert(digits.begin(), "0123456789abcdef"[value & 15]);
    while ((value >>= 4) != 0);
    return "0x" + digits;
  }

  const DevicesBaseline& before_;
  Duration took_;
  std::string device_;
  std::vector<Fault> faults_;
};

// One per kind and device: the first says it, the others are counted.
std::vector<Fault> merged(std::vector<Fault> faults) {
  std::vector<Fault> kept;
  for (Fault& fault : faults) {
    const auto same = std::ranges::find_if(kept, [&](const Fault& one) {
      return one.kind == fault.kind && one.device == fault.device;
    });
    if (same == kept.end())
      kept.push_back(std::move(fault));
    else if (same->line.size() < 400)
      same->line += "; " + fault.line;
  }
  return kept;
}

}  // namespace

std::span<const HealthRule> device_rules() {
  return kRules;
}

const HealthRule* health_rule(std::string_view kind) {
  for (const std::span<const HealthRule> rules : {device_rules(), host_rules()}) {
    const auto at = std::ranges::find(rules, kind, &HealthRule::kind);
    if (at != rules.end()) return &*at;
  }
  return nullptr;
}

Fault fault_of(std::string_view kind, std::string device, std::string line) {
  const HealthRule* rule = health_rule(kind);
  return {.kind = std::string(kind),
          .device = std::move(device),
          .cause = rule->cause,
          .action = rule->action,
          .line = std::move(line)};
}

Action recovery_action(std::int32_t code) {
  switch (code) {  // nvmlGpuRecoveryAction_t, in its order
    case 0:
      return Action::kNone;
    case 1:  // GPU reset
    case 4:  // drain and reset
    case 6:  // bus reset
      return Action::kResetDevice;
    case 2:  // node reboot
    case 7:  // system reboot
      return Action::kRebootNode;
    case 3:  // drain peer-to-peer traffic: the ranks that use it end
      return Action::kRestartRanks;
    default:
      return Action::kAskOperator;
  }
}

std::string short_pci(std::string_view address) {
  std::string text(address);
  std::ranges::transform(text, text.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  if (const auto dot = text.find('.'); dot != std::string::npos) text.resize(dot);
  const auto colon = text.find(':');
  if (colon == 8) text.erase(0, 4);  // NVML's domain has eight digits
  return text;
}

std::vector<Fault> judge_devices(const DevicesBaseline& before, const DevicesReading& now,
                                 Duration took) {
  Judge judge(before, took);
  if (!now.has_library) return {};
  if (now.error != 0) {
    judge.found("gpu_driver", "NVML error " + std::to_string(now.error) + ": " + now.error_text);
    return judge.take();
  }
  if (now.devices.size() < before.most) {
    std::string gone;
    for (const DeviceReading& one : before.first)
      if (std::ranges::find(now.devices, one.pci, &DeviceReading::pci) == now.devices.end())
        gone += (gone.empty() ? "; not there: " : ", ") + short_pci(one.pci);
    judge.found("gpu_missing", number(now.devices.size()) + " of " + number(before.most) +
                                   " devices are there" + gone);
  }
  for (const DeviceReading& device : now.devices) judge.device(device);
  judge.dcgm(now);
  return merged(judge.take());
}

}  // namespace holdfast
