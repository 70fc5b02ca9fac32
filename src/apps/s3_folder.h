#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "engine/checkpoint/folder.h"
#include "io/s3_bucket.h"

namespace holdfast {

// A checkpoint folder in an S3 bucket: the same files under the same names, each an object.
//
// - What is at NAME.tmp is kept in this process until it is renamed or linked: objects appear
// whole.
// - Folders do not exist in a bucket. make_folder() writes the name into the object `newest` of its
//   parent, where it comes last there, and list() adds what stands in it: a store may list late,
//   and what was just begun must be found.
// - When the store cannot say whether something exists, exists() is false and the folder refuses
//   everything from then on: nobody decides on what they could not see.
[[nodiscard]] std::unique_ptr<engine::Folder> s3_folder(std::shared_ptr<S3Bucket> bucket,
                                                        const std::string& prefix);

// A path or s3://BUCKET/PREFIX, with this process's credentials.
[[nodiscard]] Result<std::unique_ptr<engine::Folder>> open_checkpoint_folder(
    const std::string& where, const S3Options& options = {});

}  // namespace holdfast
