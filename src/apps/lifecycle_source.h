#pragma once

#include <string>

#include "base/result.h"

namespace holdfast {

// The files of lifecycle scripts as one pack (io/file_pack.h): those of a folder of this host, or
// of s3://BUCKET/PREFIX with this process's credentials. Blocks.
[[nodiscard]] Result<std::string> read_lifecycle_source(const std::string& source);

}  // namespace holdfast
