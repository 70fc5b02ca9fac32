#pragma once

#include <optional>
#include <string_view>

namespace holdfast {

// The page of docs/errors/ for a code such as "HF1001", embedded when the program is built.
[[nodiscard]] std::optional<std::string_view> error_page(std::string_view code);

}  // namespace holdfast
