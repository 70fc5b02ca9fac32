#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace holdfast {

// A file that fills the file system of `folder`, for those who want to see what a full disk does.
struct Ballast {
  std::string folder;
  bool force = false;  // also the root file system, and one of more than 1 GiB

  // Returns the size of the ballast once nothing more fits.
  [[nodiscard]] Result<std::uint64_t> fill() const;
  [[nodiscard]] Result<void> remove() const;
};

}  // namespace holdfast
