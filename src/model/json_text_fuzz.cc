// What is taken nests no deeper than it may, and can be shown.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/json_text.h"

namespace {

int depth_of(const nlohmann::json& value) {
  if (!value.is_structured()) return 0;  // iterating it would give itself
  int deepest = 0;
  for (const auto& item : value) deepest = std::max(deepest, depth_of(item));
  return deepest + 1;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const auto value = parse_json_text(text);
  if (value.is_discarded()) {
    CHECK(nests_deeper(text, kJsonDepthMax) || !nlohmann::json::accept(text));
    return 0;
  }
  CHECK(depth_of(value) <= kJsonDepthMax);
  CHECK(parse_json_text(value.dump()) == value);
  return 0;
}
