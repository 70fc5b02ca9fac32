#pragma once

#include <string_view>

namespace holdfast {

inline constexpr std::string_view kVersion = "0.1.0";  // as in CMakeLists.txt

}  // namespace holdfast
