#pragma once

// Files of /proc and /sys, and the log of an NVMe drive, as numbers. Pure: any bytes in, a value or
// nothing out.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/readings.h"

namespace holdfast {

struct MemoryFile {
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;
};
// /proc/meminfo
[[nodiscard]] std::optional<MemoryFile> parse_meminfo(std::string_view text);

// /proc/pressure/*: the "full" line's share of the last minute, per mille.
[[nodiscard]] std::optional<std::uint32_t> parse_pressure(std::string_view text);

// /proc/self/mounts: what is backed by a disk or a file server. `device` of the latter is as the
// kernel has it, "server:/path".
[[nodiscard]] std::vector<MountReading> parse_mounts(std::string_view text);

struct ProcessFile {
  std::int32_t pid = 0;
  std::string name;
  char state = '?';
};
// /proc/PID/stat
[[nodiscard]] std::optional<ProcessFile> parse_process_stat(std::string_view text);

// A file that holds one number, decimal or 0x.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text);

// The SMART / Health Information log page (02h), 512 bytes, of the NVM Express base specification.
// False: too short.
[[nodiscard]] bool parse_smart_log(std::string_view bytes, DriveReading& drive);

// /sys/bus/pci/devices/*/{vendor,class}: "accelerator", "network", "drive"; empty for others.
[[nodiscard]] std::string pci_kind(std::uint64_t vendor, std::uint64_t device_class);

}  // namespace holdfast
