#include "io/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>

#include "io/nvml_abi.h"
#include "io/utf8.h"

namespace holdfast {

struct Nvml::Functions {
  void* library = nullptr;
#define HF_NVML_POINTER(name, parameters) nvml::Return(*name) parameters = nullptr;
  HF_NVML_FUNCTIONS(HF_NVML_POINTER)
#undef HF_NVML_POINTER

  Functions() = default;
  Functions(const Functions&) = delete;
  Functions& operator=(const Functions&) = delete;
  ~Functions() {
    if (library != nullptr) ::dlclose(library);
  }
};

namespace {

constexpr unsigned kTextMax = 96;

template <class Function, class... Arguments>
nvml::Return call(Function function, Arguments... arguments) {
  return function == nullptr ? nvml::kNotSupported : function(arguments...);
}

template <class Function>
std::string text_by(Function function, nvml::Device device) {
  std::array<char, kTextMax> text{};
  if (call(function, device, text.data(), kTextMax - 1) != nvml::kSuccess) return {};
  return valid_utf8(text.data());
}

// One number that a function of (device, arguments..., Raw*) gives, into the reading.
template <class Raw, class To, class Function, class... Arguments>
nvml::Return number_by(std::optional<To>& to, Function function, Arguments... arguments) {
  Raw raw{};
  const nvml::Return result = call(function, arguments..., &raw);
  if (result == nvml::kSuccess) to = static_cast<To>(raw);
  return result;
}

std::string_view error_text(nvml::Return error) {
  switch (error) {
    case nvml::kUninitialized:
      return "not initialized";
    case nvml::kDriverNotLoaded:
      return "the driver is not loaded";
    case nvml::kVersionMismatch:
      return "the driver and its library are of different versions";
    case nvml::kGpuIsLost:
      return "a GPU is lost";
    default:
      return "see nvmlReturn_t in NVIDIA's NVML API reference";
  }
}

}  // namespace

Nvml::Nvml(std::unique_ptr<Functions> functions) : functions_(std::move(functions)) {}
Nvml::Nvml(Nvml&& other) noexcept
    : functions_(std::move(other.functions_)),
      initialized_(std::exchange(other.initialized_, false)) {}
Nvml& Nvml::operator=(Nvml&& other) noexcept {
  std::swap(functions_, other.functions_);
  std::swap(initialized_, other.initialized_);
  return *this;
}

Nvml::~Nvml() {
  if (functions_ != nullptr && initialized_) call(functions_->nvmlShutdown);
}

Result<Nvml> Nvml::load(const std::string& library) {
  auto functions = std::make_unique<Functions>();
  functions->library = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (functions->library == nullptr) {
    const char* why = ::dlerror();
    return Error{Errc::kNotFound, "devices: " + library + " cannot be loaded: " +
                                      (why == nullptr ? "no reason given" : why)};
  }
#define HF_NVML_RESOLVE(name, parameters) \
  functions->name =                       \
      reinterpret_cast<nvml::Return(*) parameters>(::dlsym(functions->library, #name));
  HF_NVML_FUNCTIONS(HF_NVML_RESOLVE)
#undef HF_NVML_RESOLVE
  if (functions->nvmlInit_v2 == nullptr || functions->nvmlDeviceGetCount_v2 == nullptr ||
      functions->nvmlDeviceGetHandleByIndex_v2 == nullptr)
    return Error{Errc::kInvalidField,
                 "devices: " + library + " is no NVML: it lacks nvmlInit_v2 or nvmlDeviceGet*_v2"};
  return Nvml(std::move(functions));
}

DevicesReading Nvml::read() {
  const Functions& f = *functions_;
  DevicesReading reading{.has_library = true};
  const auto fail = [&](nvml::Return error) {
    reading.error = error;
    reading.error_text = error_text(error);
    return reading;
  };
  if (!initialized_) {
    if (const nvml::Return error = call(f.nvmlInit_v2); error != nvml::kSuccess) return fail(error);
    initialized_ = true;
  }
  unsigned count = 0;
  const nvml::Return counted = call(f.nvmlDeviceGetCount_v2, &count);
  if (counted != nvml::kSuccess) {
    call(f.nvmlShutdown);
    initialized_ = false;
    return fail(counted);
  }
  std::array<char, kTextMax> driver{};
  if (call(f.nvmlSystemGetDriverVersion, driver.data(), kTextMax - 1) == nvml::kSuccess)
    reading.driver = valid_utf8(driver.data());
  for (unsigned index = 0; index < count; ++index) {
    DeviceReading device{.index = index};
    nvml::Device handle = nullptr;
    device.error = call(f.nvmlDeviceGetHandleByIndex_v2, index, &handle);
    if (device.error == nvml::kSuccess) read_device(device, handle);
    reading.devices.push_back(std::move(device));
  }
  return reading;
}

void Nvml::read_device(DeviceReading& device, void* handle) const {
  const Functions& f = *functions_;
  nvml::PciInfo pci{};
  device.error = call(f.nvmlDeviceGetPciInfo_v3, handle, &pci);
  pci.bus_id[sizeof pci.bus_id - 1] = '\0';
  device.pci = valid_utf8(pci.bus_id);
  device.name = text_by(f.nvmlDeviceGetName, handle);
  device.uuid = text_by(f.nvmlDeviceGetUUID, handle);
  device.vbios = text_by(f.nvmlDeviceGetVbiosVersion, handle);
  using Counter = unsigned long long;
  const auto ecc = [&](std::optional<std::uint64_t>& to, int type, int counter) {
    return number_by<Counter>(to, f.nvmlDeviceGetTotalEccErrors, handle, type, counter);
  };
  ecc(device.ecc_corrected_volatile, nvml::kCorrected, nvml::kVolatile);
  ecc(device.ecc_uncorrected_volatile, nvml::kUncorrected, nvml::kVolatile);
  ecc(device.ecc_corrected_aggregate, nvml::kCorrected, nvml::kAggregate);
  ecc(device.ecc_uncorrected_aggregate, nvml::kUncorrected, nvml::kAggregate);
  unsigned corrected = 0, uncorrected = 0, pending = 0, failed = 0;
  if (call(f.nvmlDeviceGetRemappedRows, handle, &corrected, &uncorrected, &pending, &failed) ==
      nvml::kSuccess) {
    device.rows_remapped_corrected = corrected;
    device.rows_remapped_uncorrected = uncorrected;
    device.rows_pending = pending != 0;
    device.rows_failed = failed != 0;
  }
  for (const int cause : {nvml::kRetiredSingleBit, nvml::kRetiredDoubleBit}) {
    unsigned pages = 0;  // too small a buffer, on purpose: the count is what is asked for
    const nvml::Return result = call(f.nvmlDeviceGetRetiredPages, handle, cause, &pages, nullptr);
    constexpr nvml::Return kInsufficientSize = 7;
    if (result == nvml::kSuccess || result == kInsufficientSize)
      device.pages_retired = device.pages_retired.value_or(0) + pages;
  }
  number_by<int>(device.pages_pending, f.nvmlDeviceGetRetiredPagesPendingStatus, handle);
  number_by<Counter>(device.clock_reasons, f.nvmlDeviceGetCurrentClocksThrottleReasons, handle);
  const nvml::Return heat = number_by<unsigned>(device.temperature_c, f.nvmlDeviceGetTemperature,
                                                handle, nvml::kSensorGpu);
  // It is on the bus as long as it tells its temperature.
  if (heat == nvml::kGpuIsLost || heat == nvml::kResetRequired) device.error = heat;
  number_by<unsigned>(device.slowdown_c, f.nvmlDeviceGetTemperatureThreshold, handle,
                      nvml::kThresholdSlowdown);
  number_by<unsigned>(device.shutdown_c, f.nvmlDeviceGetTemperatureThreshold, handle,
                      nvml::kThresholdShutdown);
  number_by<unsigned>(device.power_mw, f.nvmlDeviceGetPowerUsage, handle);
  number_by<unsigned>(device.power_limit_mw, f.nvmlDeviceGetEnforcedPowerLimit, handle);
  number_by<unsigned>(device.pcie_generation, f.nvmlDeviceGetCurrPcieLinkGeneration, handle);
  number_by<unsigned>(device.pcie_generation_max, f.nvmlDeviceGetMaxPcieLinkGeneration, handle);
  number_by<unsigned>(device.pcie_width, f.nvmlDeviceGetCurrPcieLinkWidth, handle);
  number_by<unsigned>(device.pcie_width_max, f.nvmlDeviceGetMaxPcieLinkWidth, handle);
  number_by<unsigned>(device.pcie_replays, f.nvmlDeviceGetPcieReplayCounter, handle);
  number_by<int>(device.performance_state, f.nvmlDeviceGetPerformanceState, handle);
  nvml::FieldValue field{};
  field.field_id = nvml::kFieldRecoveryAction;
  if (call(f.nvmlDeviceGetFieldValues, handle, 1, &field) == nvml::kSuccess &&
      field.result == nvml::kSuccess && field.value_type == nvml::kUnsignedInt)
    device.recovery_action = static_cast<std::int32_t>(field.value.ui);
  read_links(device, handle);
}

void Nvml::read_links(DeviceReading& device, void* handle) const {
  const Functions& f = *functions_;
  for (unsigned link = 0; link < nvml::kNvlinkMax; ++link) {
    int active = 0;
    if (call(f.nvmlDeviceGetNvLinkState, handle, link, &active) != nvml::kSuccess) continue;
    NvlinkReading reading{.link = link, .active = active != 0};
    const auto counter = [&](std::optional<std::uint64_t>& to, int which) {
      number_by<unsigned long long>(to, f.nvmlDeviceGetNvLinkErrorCounter, handle, link, which);
    };
    counter(reading.replays, nvml::kNvlinkReplay);
    counter(reading.recoveries, nvml::kNvlinkRecovery);
    counter(reading.crc_errors, nvml::kNvlinkCrcFlit);
    device.links.push_back(reading);
  }
}

}  // namespace holdfast
