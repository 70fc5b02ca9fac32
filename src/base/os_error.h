#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast {

// "cannot open /x/y: Permission denied; check who owns it": path, reason, remedy. kDiskFull for a
// full disk or quota, kNotFound for ENOENT, kIo for the rest.
[[nodiscard]] Error os_error(std::string_view action, const std::string& path, int number);

}  // namespace holdfast
