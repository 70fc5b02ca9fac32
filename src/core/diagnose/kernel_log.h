#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "model/fault.h"

namespace holdfast {

// What a line of a kernel log told.
struct KernelFinding {
  Fault fault;
  std::string_view meaning;
  std::string_view source;  // who says so: a vendor's document, a file of the kernel
};

// Reads one line of a kernel log: as /dev/kmsg, dmesg, journald or syslog write it, or the bare
// message. nullopt for a line that says nothing about this machine's health, including look-alikes,
// lines of other programs and lines that are cut off before the fact they would tell. A vendor's
// code that is not in the tables (kernel_rules.h) asks the operator: never a silent default.
// An ordinary line costs less than 300 ns (bench/kernel_log_bench.cc).
[[nodiscard]] std::optional<KernelFinding> find_in_kernel_line(std::string_view line);
[[nodiscard]] std::optional<Fault> read_kernel_line(std::string_view line);

// The message without its frame: "6,1234,5678,-;text", "<6>[ 12.34] text", "[ 12.34][ T7] text",
// "Nov 24 12:00:00 host kernel: [ 12.34] text". A line of another program keeps its frame, so that
// no rule matches.
[[nodiscard]] std::string_view kernel_message(std::string_view line);

// When the line was written. Its frame may tell the time since boot, the wall clock or neither.
struct KernelTime {
  std::optional<std::int64_t> since_boot_ns;
  std::optional<std::int64_t> unix_ns;
};
// `year` is for syslog's "Nov 24 12:00:00", which has none. Times without a zone count as UTC.
[[nodiscard]] KernelTime kernel_time(std::string_view line, std::int32_t year);

}  // namespace holdfast
