#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "engine/checkpoint/folder.h"
#include "engine/checkpoint/manifest.h"

namespace holdfast::engine {

// Copies a commit from one folder to another, say from a disk to an object store or back: shards
// first, each block verified on its way, the lineage of its attempt, and the manifest last. What is
// there already is not copied again; nothing that fails leaves a commit. kDamaged: it does not
// verify where it comes from.
Result<void> copy_commit(const Folder& from, Folder& to, const std::optional<std::string>& job,
                         const Base& commit, unsigned threads);

}  // namespace holdfast::engine
