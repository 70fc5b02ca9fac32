#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "io/process.h"

namespace holdfast {

// A program that is run to its end, whatever it does.
struct CapturedSpec {
  SpawnSpec program;  // log_file and fds are not looked at
  Duration budget;    // then it is killed
};

struct CapturedRun {
  ExitStatus status;
  bool timed_out = false;
  bool flooded = false;  // wrote more than kOutputMax, and was killed for it
  std::string output;    // stdout and stderr: the last kOutputKept bytes
  Duration took;
};
inline constexpr std::size_t kOutputKept = 64 << 10;
inline constexpr std::uint64_t kOutputMax = 64 << 20;

// Waits for it. When it returns nothing that the program started lives any more, also not what left
// its session: so it kills every other child of this process, which must be a subreaper
// (become_subreaper()) and have no other children. kNotFound, kIo: it cannot be run.
[[nodiscard]] Result<CapturedRun> run_captured(const CapturedSpec& spec);

}  // namespace holdfast
