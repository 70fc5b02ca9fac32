#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

namespace holdfast {

// Deeper than anything that is asked or told here. The library writes, copies and compares by
// recursion, so text that nests a million deep would end the process that shows it to somebody.
inline constexpr int kJsonDepthMax = 64;

[[nodiscard]] bool nests_deeper(std::string_view json, int most);

// JSON from a wire, a disk, a program or a person. Discarded (is_discarded()) where it is no JSON
// or nests deeper than kJsonDepthMax; never throws for what the text is.
[[nodiscard]] nlohmann::json parse_json_text(std::string_view text);

}  // namespace holdfast
