#pragma once

#include <string_view>

namespace holdfast {

// libholdfast_checkpoint.so as it was built with this program: what a rank's `holdfast.checkpoint`
// loads.
[[nodiscard]] std::string_view checkpoint_library();

}  // namespace holdfast
