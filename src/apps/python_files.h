#pragma once

#include <span>

#include "apps/embedded_file.h"

namespace holdfast {

// The Python side (python/ without its tests): what goes on the PYTHONPATH of a rank.
[[nodiscard]] std::span<const EmbeddedFile> python_files();

}  // namespace holdfast
