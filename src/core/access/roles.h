#pragma once

#include <optional>
#include <string_view>

#include "model/access.h"

namespace holdfast {

// What an operation of the HyperPod API asks of its caller, from its name, as AWS's own managed
// policies group them.
struct OperationNeeds {
  AccessRole role = AccessRole::kAdmin;  // this one or a later one
  bool changes_something = true;

  friend bool operator==(const OperationNeeds&, const OperationNeeds&) = default;
};

// None: no operation has such a name (only letters, and a verb that is known).
[[nodiscard]] std::optional<OperationNeeds> needs_of(std::string_view operation);

}  // namespace holdfast
