#pragma once

#include <span>
#include <string>
#include <vector>

#include "apps/embedded_file.h"
#include "base/result.h"
#include "sim/scenario.h"

namespace holdfast {

// tests/scenario/*.yaml, as they were when the program was built.
[[nodiscard]] std::span<const EmbeddedFile> scenario_files();

// Without ".yaml", sorted.
[[nodiscard]] std::vector<std::string> scenario_names();

// What `holdfast sim run` is given: the name of an embedded scenario, or the path of a file (with a
// '/' or ".yaml" in it).
[[nodiscard]] Result<sim::Scenario> load_scenario(const std::string& name_or_path);

}  // namespace holdfast
