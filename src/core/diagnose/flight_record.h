#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast {

// Where a rank was in a process group.
struct FlightPosition {
  // Twice the number of the last collective that it had begun, and 1 more where the GPU had begun
  // it too: who waits for the others is ahead of them.
  std::uint64_t reached = 0;
  // What that collective was: "nccl:all_reduce", with its sizes where all ranks must give the same.
  std::string operation;

  friend bool operator==(const FlightPosition&, const FlightPosition&) = default;
};

// By process group, from a dump of PyTorch's flight
// recorder (TORCH_NCCL_TRACE_BUFFER_SIZE; pickle protocols 2 to 5).
//
// A pickle is a program. This one may only build numbers, strings, lists and dicts: anything that
// would name a class or call a function is refused, except for PyTorch's own typed lists, which are
// taken as lists. Errors: kUnparsable, with the position.
[[nodiscard]] Result<std::map<std::string, FlightPosition>> read_flight_record(
    std::string_view pickle);

}  // namespace holdfast
