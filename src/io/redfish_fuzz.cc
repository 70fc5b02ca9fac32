// Any answer of a management controller: a path of it, or an Error.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "io/redfish.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  if (const auto path = read_redfish_systems(text); path.ok()) CHECK(path->starts_with("/"));
  if (const auto reset = read_redfish_system(text); reset.ok()) CHECK(reset->path.starts_with("/"));
  return 0;
}
