#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast {

// How far a rank was, by process group, from a dump of PyTorch's flight
// recorder (TORCH_NCCL_TRACE_BUFFER_SIZE; pickle protocols 2 to 5): twice the number of the last
// collective that it had begun, and 1 more where the GPU had begun it too.
//
// A pickle is a program. This one may only build numbers, strings, lists and dicts: anything that
// would name a class or call a function is refused, except for PyTorch's own typed lists, which are
// taken as lists. Errors: kUnparsable, with the position.
[[nodiscard]] Result<std::map<std::string, std::uint64_t>> read_flight_record(
    std::string_view pickle);

}  // namespace holdfast
