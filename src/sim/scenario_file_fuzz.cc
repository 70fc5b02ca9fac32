// Any text is a scenario that passes its own check, or an error that a person can read.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "sim/scenario_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace holdfast;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto scenario = sim::parse_scenario(text, "fuzz.yaml");
  if (scenario.ok())
    CHECK(sim::check_scenario(*scenario).ok());
  else
    CHECK(scenario.error().detail.starts_with("fuzz.yaml:"));
  if (const auto duration = sim::parse_duration(text); duration.ok()) CHECK(duration->ns >= 0);
  return 0;
}
