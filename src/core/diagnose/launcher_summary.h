#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace holdfast {

// Who failed first, by the summary that a launcher prints when it ends a job.
struct FirstFailure {
  std::uint32_t rank = 0;
  std::int32_t signal = 0;  // that ended it; 0: none, or not told

  friend bool operator==(const FirstFailure&, const FirstFailure&) = default;
};

// Reads the summaries of torchrun ("Root Cause (first observed failure):"), of Open MPI's and
// MPICH's launchers and aborts, and of Slurm's srun in a log; the first one counts. Total: any
// bytes.
[[nodiscard]] std::optional<FirstFailure> read_launcher_summary(std::string_view log);

}  // namespace holdfast
