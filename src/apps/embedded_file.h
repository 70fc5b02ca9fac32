#pragma once

#include <span>
#include <string_view>

namespace holdfast {

// A file of the source tree as it was when the program was built (cmake/embed.cmake).
struct EmbeddedFile {
  std::string_view path;  // "holdfast/warm.py"
  std::string_view content;
};

}  // namespace holdfast
