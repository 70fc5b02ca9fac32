#pragma once

#include <string_view>

namespace holdfast {

// The test double of NVIDIA's management library (drivers/nvml_double.cc), as a file's content: for
// agents that are given a recorded machine.
[[nodiscard]] std::string_view nvml_double();

}  // namespace holdfast
