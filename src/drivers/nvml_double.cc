// A test double of NVIDIA's libnvidia-ml.so.1: it answers from a recorded machine, the YAML file
// that HOLDFAST_RECORDED_MACHINE names, and reads that anew whenever it changes. It never touches a
// device. Loaded only where an agent was told to: `--devices recorded:FILE`.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "drivers/recorded_machine.h"
#include "io/nvml_abi.h"

namespace {

using holdfast::DeviceReading;
using holdfast::nvml::Device;
using holdfast::nvml::Return;
namespace nvml = holdfast::nvml;

// One thread: the probe's.
struct Library {
  bool initialized = false;
  holdfast::RecordedMachine machine;
  std::vector<const DeviceReading*> devices;  // those on the bus
  struct stat seen {};
};
Library library;

bool load() {
  const char* path = std::getenv("HOLDFAST_RECORDED_MACHINE");
  struct stat now {};
  if (path == nullptr || ::stat(path, &now) != 0) return false;
  const auto& was = library.seen;
  const bool same = was.st_ino == now.st_ino && was.st_size == now.st_size &&
                    was.st_mtim.tv_sec == now.st_mtim.tv_sec &&
                    was.st_mtim.tv_nsec == now.st_mtim.tv_nsec;
  if (same && library.initialized) return true;
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  auto machine = holdfast::parse_recorded_machine(text.str(), path);
  if (!machine.ok()) return false;
  library.machine = std::move(machine).value();
  library.seen = now;
  library.devices.clear();
  for (const DeviceReading& device : library.machine.reading.devices)
    if (!library.machine.missing.contains(device.pci)) library.devices.push_back(&device);
  return true;
}

// The device of a handle; nullptr with the error in `error`.
const DeviceReading* find(Device handle, Return& error) {
  const auto number = reinterpret_cast<std::uintptr_t>(handle);
  error = nvml::kUninitialized;
  if (!library.initialized) return nullptr;
  error = nvml::kInvalidArgument;
  if (number == 0 || number > library.devices.size()) return nullptr;
  const DeviceReading* device = library.devices[number - 1];
  error = device->error;
  if (std::cmp_equal(library.machine.hangs_at, device->index))
    for (;;) ::pause();  // as a call that waits in the driver
  return error == nvml::kSuccess ? device : nullptr;
}

template <class From, class To>
Return give(Device handle, const std::optional<From> DeviceReading::*field, To* to) {
  Return error = nvml::kSuccess;
  const DeviceReading* device = find(handle, error);
  if (device == nullptr) return error;
  if (!(device->*field)) return nvml::kNotSupported;
  *to = static_cast<To>(*(device->*field));
  return nvml::kSuccess;
}

Return give_text(const std::string& text, char* to, unsigned size) {
  if (size == 0) return nvml::kInvalidArgument;
  std::snprintf(to, size, "%s", text.c_str());
  return nvml::kSuccess;
}

Return give_text(Device handle, std::string DeviceReading::*field, char* to, unsigned size) {
  Return error = nvml::kSuccess;
  const DeviceReading* device = find(handle, error);
  return device == nullptr ? error : give_text(device->*field, to, size);
}

const holdfast::NvlinkReading* find_link(Device handle, unsigned link, Return& error) {
  const DeviceReading* device = find(handle, error);
  if (device == nullptr) return nullptr;
  const auto at = std::ranges::find(device->links, link, &holdfast::NvlinkReading::link);
  if (at != device->links.end()) return &*at;
  error = nvml::kInvalidArgument;
  return nullptr;
}

}  // namespace

#define HF_DOUBLE extern "C" [[gnu::visibility("default")]] Return

HF_DOUBLE nvmlInit_v2() {
  if (!load()) return nvml::kDriverNotLoaded;
  library.initialized = true;
  return nvml::kSuccess;
}
HF_DOUBLE nvmlInitWithFlags(unsigned) {
  return nvmlInit_v2();
}
HF_DOUBLE nvmlShutdown() {
  library.initialized = false;
  return nvml::kSuccess;
}
HF_DOUBLE nvmlSystemGetDriverVersion(char* to, unsigned size) {
  return give_text(library.machine.reading.driver, to, size);
}
HF_DOUBLE nvmlDeviceGetCount_v2(unsigned* count) {
  if (!library.initialized) return nvml::kUninitialized;
  if (!load()) return nvml::kDriverNotLoaded;
  *count = static_cast<unsigned>(library.devices.size());
  return nvml::kSuccess;
}
HF_DOUBLE nvmlDeviceGetHandleByIndex_v2(unsigned index, Device* handle) {
  if (index >= library.devices.size()) return nvml::kInvalidArgument;
  *handle = reinterpret_cast<Device>(std::uintptr_t{index} + 1);
  return nvml::kSuccess;
}
// What the bus tells stays known of a device that is lost.
HF_DOUBLE nvmlDeviceGetPciInfo_v3(Device handle, nvml::PciInfo* to) {
  Return error = nvml::kSuccess;
  static_cast<void>(find(handle, error));
  const auto number = reinterpret_cast<std::uintptr_t>(handle);
  if (number == 0 || number > library.devices.size()) return nvml::kInvalidArgument;
  *to = {};
  const std::string& pci = library.devices[number - 1]->pci;
  std::snprintf(to->bus_id, sizeof to->bus_id, "%s", pci.c_str());
  std::snprintf(to->bus_id_legacy, sizeof to->bus_id_legacy, "%s", pci.c_str());
  return nvml::kSuccess;
}
HF_DOUBLE nvmlDeviceGetName(Device handle, char* to, unsigned size) {
  return give_text(handle, &DeviceReading::name, to, size);
}
HF_DOUBLE nvmlDeviceGetUUID(Device handle, char* to, unsigned size) {
  return give_text(handle, &DeviceReading::uuid, to, size);
}
HF_DOUBLE nvmlDeviceGetVbiosVersion(Device handle, char* to, unsigned size) {
  return give_text(handle, &DeviceReading::vbios, to, size);
}
HF_DOUBLE nvmlDeviceGetTotalEccErrors(Device handle, int type, int counter,
                                      unsigned long long* to) {
  const bool corrected = type == nvml::kCorrected;
  if (counter == nvml::kVolatile)
    return give(handle,
                corrected ? &DeviceReading::ecc_corrected_volatile
                          : &DeviceReading::ecc_uncorrected_volatile,
                to);
  return give(handle,
              corrected ? &DeviceReading::ecc_corrected_aggregate
                        : &DeviceReading::ecc_uncorrected_aggregate,
              to);
}
HF_DOUBLE nvmlDeviceGetRemappedRows(Device handle, unsigned* corrected, unsigned* uncorrected,
                                    unsigned* pending, unsigned* failed) {
  Return error = give(handle, &DeviceReading::rows_remapped_corrected, corrected);
  if (error == nvml::kSuccess)
    error = give(handle, &DeviceReading::rows_remapped_uncorrected, uncorrected);
  if (error == nvml::kSuccess) error = give(handle, &DeviceReading::rows_pending, pending);
  return error == nvml::kSuccess ? give(handle, &DeviceReading::rows_failed, failed) : error;
}
HF_DOUBLE nvmlDeviceGetRetiredPages(Device handle, int cause, unsigned* count,
                                    unsigned long long*) {
  if (cause != nvml::kRetiredDoubleBit) return nvml::kNotSupported;
  return give(handle, &DeviceReading::pages_retired, count);
}
HF_DOUBLE nvmlDeviceGetRetiredPagesPendingStatus(Device handle, int* to) {
  return give(handle, &DeviceReading::pages_pending, to);
}
HF_DOUBLE nvmlDeviceGetCurrentClocksThrottleReasons(Device handle, unsigned long long* to) {
  return give(handle, &DeviceReading::clock_reasons, to);
}
HF_DOUBLE nvmlDeviceGetCurrentClocksEventReasons(Device handle, unsigned long long* to) {
  return give(handle, &DeviceReading::clock_reasons, to);
}
HF_DOUBLE nvmlDeviceGetTemperature(Device handle, int, unsigned* to) {
  return give(handle, &DeviceReading::temperature_c, to);
}
HF_DOUBLE nvmlDeviceGetTemperatureThreshold(Device handle, int which, unsigned* to) {
  if (which == nvml::kThresholdSlowdown) return give(handle, &DeviceReading::slowdown_c, to);
  if (which == nvml::kThresholdShutdown) return give(handle, &DeviceReading::shutdown_c, to);
  return nvml::kNotSupported;
}
HF_DOUBLE nvmlDeviceGetPowerUsage(Device handle, unsigned* to) {
  return give(handle, &DeviceReading::power_mw, to);
}
HF_DOUBLE nvmlDeviceGetEnforcedPowerLimit(Device handle, unsigned* to) {
  return give(handle, &DeviceReading::power_limit_mw, to);
}
HF_DOUBLE nvmlDeviceGetCurrPcieLinkGeneration(Device handle, unsigned* to) {
  return give(handle, &DeviceReading::pcie_generation, to);
}
HF_DOUBLE nvmlDeviceGetMaxPcieLinkGeneration(Device handle, unsigned* to) {
  return give(handle, &DeviceReading::pcie_generation_max, to);
}
HF_DOUBLE nvmlDeviceGetCurrPcieLinkWidth(Device handle, unsigned* to) {
  return give(handle, &DeviceReading::pcie_width, to);
}
HF_DOUBLE nvmlDeviceGetMaxPcieLinkWidth(Device handle, unsigned* to) {
  return give(handle, &DeviceReading::pcie_width_max, to);
}
HF_DOUBLE nvmlDeviceGetPcieReplayCounter(Device handle, unsigned* to) {
  return give(handle, &DeviceReading::pcie_replays, to);
}
HF_DOUBLE nvmlDeviceGetPerformanceState(Device handle, int* to) {
  return give(handle, &DeviceReading::performance_state, to);
}
HF_DOUBLE nvmlDeviceGetNvLinkState(Device handle, unsigned link, int* to) {
  Return error = nvml::kSuccess;
  const holdfast::NvlinkReading* found = find_link(handle, link, error);
  if (found != nullptr) *to = found->active ? 1 : 0;
  return error;
}
HF_DOUBLE nvmlDeviceGetNvLinkErrorCounter(Device handle, unsigned link, int counter,
                                          unsigned long long* to) {
  Return error = nvml::kSuccess;
  const holdfast::NvlinkReading* found = find_link(handle, link, error);
  if (found == nullptr) return error;
  *to = (counter == nvml::kNvlinkReplay     ? found->replays
         : counter == nvml::kNvlinkRecovery ? found->recoveries
                                            : found->crc_errors)
            .value_or(0);
  return nvml::kSuccess;
}
HF_DOUBLE nvmlDeviceGetFieldValues(Device handle, int count, nvml::FieldValue* values) {
  Return error = nvml::kSuccess;
  const DeviceReading* device = find(handle, error);
  if (device == nullptr) return error;
  for (int i = 0; i < count; ++i) {
    nvml::FieldValue& value = values[i];
    const bool known = value.field_id == nvml::kFieldRecoveryAction && device->recovery_action;
    value.result = known ? nvml::kSuccess : nvml::kNotSupported;
    value.value_type = nvml::kUnsignedInt;
    value.value.ui = known ? static_cast<unsigned>(*device->recovery_action) : 0;
  }
  return nvml::kSuccess;
}
HF_DOUBLE nvmlSystemGetNVMLVersion(char* to, unsigned size) {
  return give_text("test double", to, size);
}
