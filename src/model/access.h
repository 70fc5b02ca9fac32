#pragma once

#include <array>
#include <string_view>

#include "model/enum_text.h"

namespace holdfast {

// What a caller of the HyperPod API may do; each role may what the ones before it may.
enum class AccessRole {
  kViewer,    // look
  kOperator,  // keep it running: reboot, replace, add and check nodes, change what there is
  kAdmin      // make and delete clusters and what belongs to them
};
template <>
inline constexpr auto kWords<AccessRole> = std::to_array<std::string_view>({"viewer", "operator",
                                                                            "admin"});

}  // namespace holdfast
