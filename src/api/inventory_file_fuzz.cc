#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/inventory_file.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto inventory = holdfast::parse_inventory_file(text, "i.yaml", "/f");
  if (inventory.ok()) CHECK(!inventory->hosts.empty());
  return 0;
}
