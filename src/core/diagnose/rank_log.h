#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/diagnose/launcher_summary.h"

namespace holdfast {

// What the output of one rank tells of its end.
struct RankLog {
  // The uncaught Python exception, without its module ("OutOfMemoryError"). Of a chain of
  // exceptions the first one that is not the echo of another rank's end. A C++ program that was
  // terminated by an exception has its type here too.
  std::string error_type;
  std::string error_message;
  std::string traceback;

  // The rank writes its loss, and a loss that is no number: its line, and the step that it names.
  bool writes_loss = false;
  std::string nan_line;
  std::optional<std::uint64_t> nan_step;

  // The line of a loss that jumped, to more than ten times the median of those before, and did not
  // come back.
  std::string spike_line;

  // PyTorch's watchdog gave up on a collective, and which one was the last that this rank had
  // begun.
  bool timed_out = false;
  std::optional<std::uint64_t> last_enqueued;

  // Whom the launcher names as the first that failed, where its summary is in this log.
  std::optional<FirstFailure> first_failure;

  // The last lines, at most 4 KiB.
  std::string tail;
};

// Total: any bytes. Prefixes that launchers put before each line ("[rank3]: ", "[default3]:",
// "[1,3]<stderr>:") are taken off.
[[nodiscard]] RankLog read_rank_log(std::string_view text);

enum class DeviceTrouble {
  kNone,
  kProgram,      // an error of CUDA that a program's own mistake gives as well
  kUnavailable,  // no device, or a busy one
  kHardware      // memory or links of the device, which no program can break
};
// What an error message says about the accelerator, in CUDA's own words (driver_types.h).
[[nodiscard]] DeviceTrouble device_trouble(std::string_view message);

// Memory ran out, in the words of PyTorch's allocators, CUDA and C++.
[[nodiscard]] bool says_out_of_memory(std::string_view message);

// The disk or file system failed, in the words of strerror(3).
[[nodiscard]] bool says_storage_failed(std::string_view message);

// Another rank or the connection to it is gone, in the words of Gloo, NCCL, PyTorch's store and
// MPI.
[[nodiscard]] bool says_peer_gone(std::string_view message);

// A stack dump of py-spy as faulthandler would write it; others are returned as they are.
[[nodiscard]] std::string as_fault_dump(std::string_view text);

}  // namespace holdfast
