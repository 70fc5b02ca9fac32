#include "engine/checkpoint/persist.h"

#include <algorithm>
#include <future>
#include <vector>

#include "engine/checkpoint/parallel.h"

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kWriteBytes = std::uint64_t{4} << 20;

std::string shard_path(const ShardId& id) {
  return step_folder(id.attempt, id.step) + "/" + shard_name(id.rank);
}

Result<ShardHeader> header_of(std::span<const std::byte> image, const ShardId& id) {
  if (image.size() < kHeaderBytes) return Error{Errc::kDamaged, "the image is too short"};
  HF_TRY(const ShardHeader header,
         read_header(image.first(kHeaderBytes), image.size(), "the image"));
  if (header.id != id)
    return Error{Errc::kDamaged, "the image is of another attempt, step, rank or world size"};
  return header;
}

// The checksum that was made while the disk wrote. Sealing changes the table alone, which is
// written last.
Result<std::string> write_shard(Folder& folder, const ShardHeader& header,
                                std::span<const std::byte> image, unsigned threads,
                                const Seal& seal) {
  HF_TRY(const auto file, folder.create(shard_path(header.id), image.size()));
  const std::uint64_t writes = (image.size() + kWriteBytes - 1) / kWriteBytes;
  // Without another thread, which one write is not worth, it is done when it is asked for.
  const auto launch =
      writes > 1 ? std::launch::async | std::launch::deferred : std::launch::deferred;
  const std::shared_future<Result<std::string>> checksum = std::async(launch, seal);
  const Result<void> written =
      for_each_parallel(writes, threads, [&](std::size_t i, unsigned) -> Result<void> {
        const std::uint64_t from = i * kWriteBytes;
        const auto bytes = image.subspan(from, std::min(kWriteBytes, image.size() - from));
        if (from + bytes.size() > header.body && !checksum.get().ok())
          return checksum.get().error();
        return file->write_at(from, bytes);
      });
  checksum.wait();  // it reads the image
  HF_TRY_VOID(written);
  HF_TRY_VOID(file->sync());
  return checksum.get();
}

Result<ShardEntry> describe(std::span<const std::byte> image, const ShardHeader& header,
                            const std::string& checksum) {
  const std::string text(reinterpret_cast<const char*>(image.data()) + header.index_at,
                         header.index_bytes);
  HF_TRY(Index index, read_index(text, "the image", header.body));
  return ShardEntry{.rank = header.id.rank,
                    .bytes = image.size(),
                    .checksum = checksum,
                    .tensors = std::move(index.tensors)};
}

Result<void> write_own(Folder& folder, Store& store, const PersistRequest& request,
                       std::span<const std::byte> image, const Seal& seal,
                       const PersistHooks& hooks) {
  const ShardId& id = request.id;
  HF_TRY(const ShardHeader header, header_of(image, id));
  HF_TRY_VOID(store.prepare(id.step));
  HF_TRY(const std::string checksum, write_shard(folder, header, image, request.threads, seal));
  HF_TRY(const ShardEntry entry, describe(image, header, checksum));
  hooks.written();
  HF_TRY_VOID(store.settle(id.step));
  HF_TRY_VOID(store.put_entry(id.step, id.rank, write_entry(entry, request.save)));
  hooks.told();
  return {};
}

Error given_up(const ShardId& id) {
  return {Errc::kUnavailable, "step " + std::to_string(id.step) +
                                  ": not every rank has written its part; the step is given up"};
}

// Of rank 0: all entries, or the error of the first rank that could not.
Result<Manifest> gather(const Store& store, const PersistRequest& request,
                        const PersistHooks& hooks) {
  Manifest manifest{.job = request.job,
                    .attempt = request.id.attempt,
                    .step = request.id.step,
                    .created = request.created};
  while (manifest.shards.size() < request.id.world_size) {
    const auto rank = static_cast<std::uint32_t>(manifest.shards.size());
    HF_TRY(std::optional<EntryOrFailure> found, store.entry(request.id.step, rank, request.save));
    if (!found) {
      if (!hooks.wait()) return given_up(request.id);
      HF_TRY_VOID(store.check_fence());
      continue;
    }
    if (!found->entry) return found->failure;
    manifest.shards.push_back(std::move(*found->entry));
  }
  return manifest;
}

struct Refusal {
  Error why;
  bool is_final = false;  // rank 0 has said that there will be no commit
};

// Of the other ranks.
std::optional<Refusal> wait_for_commit(const Store& store, const PersistRequest& request,
                                       const PersistHooks& hooks) {
  while (!store.is_committed(request.id.step)) {
    const auto failed = store.failure(request.id.step, 0, request.save);
    if (!failed.ok()) return Refusal{failed.error()};
    if (*failed) return Refusal{**failed, true};
    if (!hooks.wait()) return Refusal{given_up(request.id)};
    if (const auto fence = store.check_fence(); !fence.ok()) return Refusal{fence.error()};
  }
  return std::nullopt;
}

bool has_entry(const Store& store, const PersistRequest& request) {
  const auto own = store.entry(request.id.step, request.id.rank, request.save);
  return own.ok() && *own && (*own)->entry;
}

// Takes back what was written of a step that will not be committed, and says why. The shard's room
// first: then there may be some for the reason. Its entry before that: it vouches for the shard.
void give_up(Folder& folder, Store& store, const PersistRequest& request, const Error& why) {
  const ShardId& id = request.id;
  static_cast<void>(folder.remove(step_folder(id.attempt, id.step) + "/" + entry_name(id.rank)));
  static_cast<void>(folder.remove(shard_path(id)));
  if (id.rank == 0) store.discard(id.attempt, id.step);
  if (id.world_size > 1 && store.prepare(id.step).ok())
    static_cast<void>(store.put_entry(id.step, id.rank, write_failure(why, request.save)));
}

}  // namespace

void refuse(Folder& folder, const PersistRequest& request, const Error& why) {
  Store store(folder, request.job, request.id.attempt, request.retention);
  if (store.check_fence().ok() && !store.is_committed(request.id.step) &&
      !has_entry(store, request))
    give_up(folder, store, request, why);
}

Result<void> persist(Folder& folder, const PersistRequest& request,
                     std::span<const std::byte> image, const Seal& seal,
                     const PersistHooks& hooks) {
  const ShardId& id = request.id;
  Store store(folder, request.job, id.attempt, request.retention);
  store.take(request.base);
  HF_TRY_VOID(store.check_fence());
  if (store.is_committed(id.step)) return {};
  Result<void> done = id.rank == 0 ? store.begin() : Result<void>();
  if (done.ok()) done = write_own(folder, store, request, image, seal, hooks);
  // Once its entry can be seen, rank 0 may have counted on it.
  if (!done.ok() && id.rank != 0 && has_entry(store, request)) done = {};
  if (done.ok() && id.rank != 0) {
    const std::optional<Refusal> refusal = wait_for_commit(store, request, hooks);
    // Its name may not be durable yet where rank 0's side has just written it.
    if (!refusal) return folder.sync(step_folder(id.attempt, id.step));
    if (refusal->is_final) give_up(folder, store, request, refusal->why);
    return refusal->why;  // else rank 0 may still commit what this rank has written
  }
  if (done.ok()) {
    const Result<Manifest> manifest = gather(store, request, hooks);
    done = manifest.ok() ? store.commit(*manifest) : Result<void>(manifest.error());
  }
  if (!done.ok()) {
    // Where the manifest is there, and only its name may not be durable, other ranks have seen it.
    const bool nothing_to_take_back =
        done.error().code == Errc::kStaleAttempt || store.is_committed(id.step);
    if (!nothing_to_take_back) give_up(folder, store, request, done.error());
    hooks.told();
    return done;
  }
  hooks.told();
  static_cast<void>(store.collect(id.step));
  return {};
}

}  // namespace holdfast::engine
