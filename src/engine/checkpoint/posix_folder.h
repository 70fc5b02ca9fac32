#pragma once

#include <memory>
#include <string>

#include "engine/checkpoint/folder.h"

namespace holdfast::engine {

// A folder of a disk or of a shared file system. Shards are written and read with O_DIRECT where
// the file system has it, so that a checkpoint does not push training's data out of the page cache.
[[nodiscard]] std::unique_ptr<Folder> posix_folder(const std::string& root);

// The same as a FolderOpener. kInvalidField for s3://: that takes a process with an S3 client.
[[nodiscard]] Result<std::unique_ptr<Folder>> open_posix_folder(const std::string& root);

}  // namespace holdfast::engine
