#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace holdfast {

// The files of lifecycle scripts as one pack (io/file_pack.h), and its SHA-256 in hex.
struct LifecyclePack {
  std::string files;
  std::string bytes;
};

// Those of a folder of this host, or of s3://BUCKET/PREFIX with this process's credentials.
// `programs` are in it, else kNotFound says which is not. Blocks.
[[nodiscard]] Result<LifecyclePack> read_lifecycle_source(const std::string& source,
                                                          const std::vector<std::string>& programs);

// Packs in a folder, each a file with its SHA-256 as the name: what nodes were given once can be
// given again. Blocks; a pack that is put is durable.
[[nodiscard]] Result<void> put_pack(const std::string& folder, const LifecyclePack& pack);
// kNotFound, kStateCorrupt: what is there is not what was put.
[[nodiscard]] Result<LifecyclePack> get_pack(const std::string& folder, const std::string& files);
// All others are removed.
void keep_packs(const std::string& folder, const std::set<std::string>& files);

}  // namespace holdfast
