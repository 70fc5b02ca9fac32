#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "model/readings.h"

namespace holdfast {

// `dcgmi health --check --json`, as DCGM 3 and 4 write it: nothing where all is healthy, at most
// kDcgmIncidentsMax, each text cut at 300 characters. nullopt: it is no such report.
[[nodiscard]] std::optional<std::vector<DcgmIncident>> read_dcgm_health(std::string_view output);
inline constexpr std::size_t kDcgmIncidentsMax = 64;

// DCGM watches nothing until somebody asks it to.
[[nodiscard]] bool dcgm_watches_nothing(std::string_view output);

}  // namespace holdfast
