#pragma once

// A few small files as one string of bytes, to be sent in pieces: FilePack in proto/link.proto.

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace holdfast {

inline constexpr std::size_t kFilePackMax = 16 << 20;
inline constexpr std::size_t kPackedFilesMax = 4096;

struct PackedFile {
  std::string path;  // below the folder: "tools/setup.sh"
  mode_t mode = 0;   // permissions only
  std::string content;
};

// kInvalidField: too many, too large, or a path that would lead out of the folder.
[[nodiscard]] Result<std::string> pack_files(const std::vector<PackedFile>& files);
[[nodiscard]] Result<std::vector<PackedFile>> unpack_files(std::string_view pack);

// All regular files below the folder. Links and special files are refused, empty folders left out.
[[nodiscard]] Result<std::vector<PackedFile>> read_folder(const std::string& folder);
// What is at `folder` goes before.
[[nodiscard]] Result<void> write_folder(const std::string& folder,
                                        const std::vector<PackedFile>& files);

}  // namespace holdfast
