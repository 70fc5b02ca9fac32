#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/topology_file.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto topology = holdfast::parse_topology_file(text, "t.conf");
  if (topology.ok())
    for (const auto& [host, location] : *topology)
      CHECK(!host.empty() && !location.rack.empty() && location.host == host);
  return 0;
}
