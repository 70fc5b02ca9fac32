#pragma once

// What one look at a machine's devices and at its host gives: numbers, no judgement
// (core/health has the rules). An empty optional: the machine or its driver does not tell.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace holdfast {

// An NVLink of a device. Counters since the driver was loaded or the device was reset.
struct NvlinkReading {
  std::uint32_t link = 0;
  bool active = false;
  std::optional<std::uint64_t> replays;
  std::optional<std::uint64_t> recoveries;
  std::optional<std::uint64_t> crc_errors;
};

struct DeviceReading {
  std::uint32_t index = 0;
  std::string pci;   // "0000:3b:00.0"; empty: not even that could be read
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::string uuid;
  std::string vbios;
  std::int32_t error = 0;  // the library's code for the device as a whole; 0: it answers
  // ECC errors: volatile ones since the driver was loaded or the device reset, others in its life.
  std::optional<std::uint64_t> ecc_corrected_volatile;
  std::optional<std::uint64_t> ecc_uncorrected_volatile;
  std::optional<std::uint64_t> ecc_corrected_aggregate;
  std::optional<std::uint64_t> ecc_uncorrected_aggregate;
  std::optional<std::uint32_t> rows_remapped_corrected;
  std::optional<std::uint32_t> rows_remapped_uncorrected;
  std::optional<bool> rows_pending;
  std::optional<bool> rows_failed;
  std::optional<std::uint32_t> pages_retired;
  std::optional<bool> pages_pending;
  std::optional<std::uint64_t> clock_reasons;  // bits, nvmlClocksEventReason*
  std::optional<std::int32_t> temperature_c;
  std::optional<std::int32_t> slowdown_c;
  std::optional<std::int32_t> shutdown_c;
  std::optional<std::uint32_t> power_mw;
  std::optional<std::uint32_t> power_limit_mw;
  std::optional<std::uint32_t> pcie_generation, pcie_generation_max;
  std::optional<std::uint32_t> pcie_width, pcie_width_max;
  std::optional<std::uint32_t> pcie_replays;
  std::optional<std::uint32_t> performance_state;  // 0: full speed
  std::optional<std::int32_t> recovery_action;     // nvmlGpuRecoveryAction
  std::vector<NvlinkReading> links;
};

// What a health watch of NVIDIA's DCGM tells.
struct DcgmIncident {
  std::string entity;                // "GPU 3", "NvSwitch 0"
  std::optional<std::uint32_t> gpu;  // DCGM's number of it, which is the driver's index
  std::string system;                // "PCIe system"
  bool failure = false;              // false: a warning
  std::string text;
};

struct DevicesReading {
  bool has_library = false;  // false: no driver's library on this machine, and nothing else is set
  std::int32_t error = 0;    // of the library as a whole; 0: it works
  std::string error_text;
  std::string driver;
  std::vector<DeviceReading> devices;
  std::vector<DcgmIncident> dcgm;  // where DCGM is installed
};

struct MountReading {
  std::string path;
  std::string device;
  bool read_only = false;
  std::optional<std::uint64_t> bytes, bytes_free;  // free: for who is not root
  std::optional<std::uint64_t> inodes, inodes_free;
};

struct InterfaceReading {
  std::string name;  // "eth0", "mlx5_0/1"
  bool up = false;
  std::uint64_t downs = 0;   // times that it went down
  std::uint64_t errors = 0;  // damaged frames, symbol errors, recoveries
};

struct DriveReading {
  std::string name;                               // "nvme0"
  std::string state;                              // "live", "dead", ...
  std::optional<std::uint32_t> critical_warning;  // bits of the SMART log
  std::optional<std::uint32_t> spare_percent, spare_percent_min;
  std::optional<std::uint32_t> used_percent;  // may be more than 100
};

// A process in uninterruptible sleep.
struct BlockedProcess {
  std::int32_t pid = 0;
  std::string name;
  std::string waits_in;  // kernel function; empty: not told

  friend bool operator==(const BlockedProcess&, const BlockedProcess&) = default;
};

struct HostReading {
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_available_bytes = 0;
  // Share of the last minute in which no task could run for want of it, per mille (PSI "full").
  std::optional<std::uint32_t> memory_stall, io_stall;
  std::vector<BlockedProcess> blocked;
  std::uint32_t zombies = 0;
  std::vector<MountReading> mounts;
  std::optional<bool> clock_synchronized;
  std::optional<std::int64_t> clock_offset_ns;
  std::vector<InterfaceReading> interfaces;
  std::vector<DriveReading> drives;
  std::vector<std::string> pci_devices;  // "0000:3b:00.0 10de accelerator", of kinds that matter
};

}  // namespace holdfast
