#pragma once

// The part of NVIDIA's NVML that Holdfast reads: the binary interface of libnvidia-ml.so.1, which
// is stable since the versions in the functions' names. From NVIDIA's NVML API reference and the
// ctypes declarations of its Python binding (nvidia-ml-py 13.615); no NVIDIA header is needed to
// build. The test double (drivers/nvml_double.cc) defines what is declared here.

#include <cstdint>

namespace holdfast::nvml {

using Return = int;
inline constexpr Return kSuccess = 0;
inline constexpr Return kUninitialized = 1;
inline constexpr Return kInvalidArgument = 2;
inline constexpr Return kNotSupported = 3;
inline constexpr Return kDriverNotLoaded = 9;
inline constexpr Return kGpuIsLost = 15;
inline constexpr Return kResetRequired = 16;
inline constexpr Return kVersionMismatch = 18;

using Device = void*;  // a handle

inline constexpr int kCorrected = 0, kUncorrected = 1;                // error type
inline constexpr int kVolatile = 0, kAggregate = 1;                   // counter type
inline constexpr int kThresholdShutdown = 0, kThresholdSlowdown = 1;  // temperature
inline constexpr int kSensorGpu = 0;
inline constexpr int kNvlinkReplay = 0, kNvlinkRecovery = 1, kNvlinkCrcFlit = 2;
inline constexpr unsigned kNvlinkMax = 36;
inline constexpr int kRetiredSingleBit = 0, kRetiredDoubleBit = 1;

struct PciInfo {
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(PciInfo) == 68);

union Value {
  double d;
  unsigned ui;
  unsigned long ul;
  unsigned long long ull;
  long long sll;
  int si;
  unsigned short us;
};
inline constexpr unsigned kFieldRecoveryAction = 230;  // NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
inline constexpr int kUnsignedInt = 1;                 // value type
struct FieldValue {
  unsigned field_id, scope_id;
  long long timestamp, latency_us;
  int value_type;
  Return result;
  Value value;
};
static_assert(sizeof(FieldValue) == 40);

// X(name, (parameters)): all that is looked up. One that a library lacks reads as not supported.
#define HF_NVML_FUNCTIONS(X)                                                                    \
  X(nvmlInit_v2, ())                                                                            \
  X(nvmlShutdown, ())                                                                           \
  X(nvmlSystemGetDriverVersion, (char*, unsigned))                                              \
  X(nvmlDeviceGetCount_v2, (unsigned*))                                                         \
  X(nvmlDeviceGetHandleByIndex_v2, (unsigned, ::holdfast::nvml::Device*))                       \
  X(nvmlDeviceGetPciInfo_v3, (::holdfast::nvml::Device, ::holdfast::nvml::PciInfo*))            \
  X(nvmlDeviceGetName, (::holdfast::nvml::Device, char*, unsigned))                             \
  X(nvmlDeviceGetUUID, (::holdfast::nvml::Device, char*, unsigned))                             \
  X(nvmlDeviceGetVbiosVersion, (::holdfast::nvml::Device, char*, unsigned))                     \
  X(nvmlDeviceGetTotalEccErrors, (::holdfast::nvml::Device, int, int, unsigned long long*))     \
  X(nvmlDeviceGetRemappedRows,                                                                  \
    (::holdfast::nvml::Device, unsigned*, unsigned*, unsigned*, unsigned*))                     \
  X(nvmlDeviceGetRetiredPages, (::holdfast::nvml::Device, int, unsigned*, unsigned long long*)) \
  X(nvmlDeviceGetRetiredPagesPendingStatus, (::holdfast::nvml::Device, int*))                   \
  X(nvmlDeviceGetCurrentClocksThrottleReasons, (::holdfast::nvml::Device, unsigned long long*)) \
  X(nvmlDeviceGetTemperature, (::holdfast::nvml::Device, int, unsigned*))                       \
  X(nvmlDeviceGetTemperatureThreshold, (::holdfast::nvml::Device, int, unsigned*))              \
  X(nvmlDeviceGetPowerUsage, (::holdfast::nvml::Device, unsigned*))                             \
  X(nvmlDeviceGetEnforcedPowerLimit, (::holdfast::nvml::Device, unsigned*))                     \
  X(nvmlDeviceGetCurrPcieLinkGeneration, (::holdfast::nvml::Device, unsigned*))                 \
  X(nvmlDeviceGetMaxPcieLinkGeneration, (::holdfast::nvml::Device, unsigned*))                  \
  X(nvmlDeviceGetCurrPcieLinkWidth, (::holdfast::nvml::Device, unsigned*))                      \
  X(nvmlDeviceGetMaxPcieLinkWidth, (::holdfast::nvml::Device, unsigned*))                       \
  X(nvmlDeviceGetPcieReplayCounter, (::holdfast::nvml::Device, unsigned*))                      \
  X(nvmlDeviceGetPerformanceState, (::holdfast::nvml::Device, int*))                            \
  X(nvmlDeviceGetNvLinkState, (::holdfast::nvml::Device, unsigned, int*))                       \
  X(nvmlDeviceGetNvLinkErrorCounter,                                                            \
    (::holdfast::nvml::Device, unsigned, int, unsigned long long*))                             \
  X(nvmlDeviceGetFieldValues, (::holdfast::nvml::Device, int, ::holdfast::nvml::FieldValue*))

}  // namespace holdfast::nvml
