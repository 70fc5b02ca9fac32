// Any bytes as what `dcgmi health` writes.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/dcgm_health.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const auto incidents = holdfast::read_dcgm_health(text);
  if (!incidents) return 0;
  for (const holdfast::DcgmIncident& incident : *incidents) {
    CHECK(incident.text.size() <= 300);
    CHECK(incident.text.find('\n') == std::string::npos);
  }
  return 0;
}
