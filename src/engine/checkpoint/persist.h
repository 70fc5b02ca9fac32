#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "engine/checkpoint/folder.h"
#include "engine/checkpoint/shard.h"
#include "engine/checkpoint/store.h"

namespace holdfast::engine {

struct PersistRequest {
  std::optional<std::string> job;
  ShardId id;
  Retention retention;
  std::optional<Base> base;  // Store::taken()
  std::string created;
  std::string save;  // names this call on all ranks
  unsigned threads = 1;
};

struct PersistHooks {
  // Called before each look at what the other ranks have done; waits a little. False: give up.
  std::function<bool()> wait = [] { return false; };
  // The image is durable and not needed any more.
  std::function<void()> written = [] {};
  // The other ranks can see something new of this one.
  std::function<void()> told = [] {};
};

// What seal() gave of an image; waits until it is sealed.
using Seal = std::function<Result<std::string>()>;

// Writes the image of one rank behind training, and takes part in the commit of its step: returns
// once the manifest names it. Each rank's side calls it; rank 0's writes the manifest when all the
// others are there, and then removes what is no longer kept. `seal` is called once, maybe on
// another thread: all that it does not change is written meanwhile.
//
// When a rank cannot write, all give up with its error, and what was written of the step goes.
Result<void> persist(Folder& folder, const PersistRequest& request,
                     std::span<const std::byte> image, const Seal& seal, const PersistHooks& hooks);

// In the place of persist(), by a rank that has nothing to write, or whose persist() was cut off:
// the others give up with `why`. What it has written completely stays, and may still be committed.
void refuse(Folder& folder, const PersistRequest& request, const Error& why);

}  // namespace holdfast::engine
