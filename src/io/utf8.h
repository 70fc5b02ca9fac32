#pragma once

#include <string>
#include <string_view>

namespace holdfast {

// Text from a program or a log, fit for JSON: each byte that is no part of a valid character
// becomes U+FFFD.
[[nodiscard]] std::string valid_utf8(std::string_view text);

}  // namespace holdfast
