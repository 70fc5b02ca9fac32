#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/checkpoint/copy_past_cache.h"
#include "engine/checkpoint/folder_link.h"
#include "engine/checkpoint/holdfast_checkpoint.h"
#include "engine/checkpoint/parallel.h"
#include "engine/checkpoint/posix_folder.h"
#include "engine/checkpoint/shard_reader.h"
#include "engine/checkpoint/snapshot_link.h"
#include "engine/checkpoint/store.h"

using holdfast::Errc;
using holdfast::Error;
using holdfast::Result;
using namespace holdfast::engine;

struct hf_ckpt {
  hf_ckpt(std::unique_ptr<Folder> folder_, const char* path_, const char* job_,
          std::uint64_t attempt_, const Retention& retention_)
      : path(path_),
        job(job_ == nullptr ? std::nullopt : std::optional<std::string>(job_)),
        attempt(attempt_),
        retention(retention_),
        folder(std::move(folder_)),
        store(*folder, job, attempt, retention) {}

  const std::string path;
  const std::optional<std::string> job;
  const std::uint64_t attempt;
  const Retention retention;
  std::unique_ptr<Folder> folder;
  std::mutex mutex;  // of the store, of held and of the last layout
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint64_t> held;  // by step and rank
  // Of the last image that was taken, by its description: mostly the next one has the same tensors.
  std::string last_tensors;
  ShardLayout last_layout;
  Store store;
  SnapshotMemory own_memory;
  std::unique_ptr<Snapshots> snapshots;
};

struct hf_ckpt_image {
  hf_ckpt* handle;
  MappedImage image;
  ShardLayout layout;
};

struct hf_ckpt_shard {
  hf_ckpt* handle;
  std::optional<std::uint64_t> open_number;  // in memory
  ShardReader reader;
};

namespace {

constexpr std::uint64_t kCopyBytes = std::uint64_t{4} << 20;

thread_local std::string last_error;

int code_of_abi(Errc errc) {
  switch (errc) {
    case Errc::kStaleAttempt:
      return HF_CKPT_FENCED;
    case Errc::kDamaged:
    case Errc::kUnparsable:
      return HF_CKPT_DAMAGED;
    case Errc::kWrongState:
      return HF_CKPT_REFUSED;
    case Errc::kDiskFull:
      return HF_CKPT_DISK_FULL;
    case Errc::kUnavailable:
      return HF_CKPT_BUSY;
    case Errc::kNotFound:
      return HF_CKPT_NOT_FOUND;
    case Errc::kInvalidField:
    case Errc::kUnknownField:
      return HF_CKPT_BAD_ARGUMENT;
    default:
      return HF_CKPT_IO;
  }
}

int fail(const Error& error) {
  last_error = error.detail;
  return code_of_abi(error.code);
}

int finish(const Result<void>& done) {
  return done.ok() ? HF_CKPT_OK : fail(done.error());
}

// Of a call that needs the memory.
int fail(const hf_ckpt& handle, const Error& error) {
  const int code = fail(error);
  return code == HF_CKPT_BUSY && !handle.snapshots->is_alive() ? HF_CKPT_GONE : code;
}

// No exception leaves the library: what there is, is of memory.
template <class Body>
int guarded(const Body& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    return fail({Errc::kIo, error.what()});
  }
}

int give(const std::string& text, char** out) {
  *out = static_cast<char*>(std::malloc(text.size() + 1));
  if (*out == nullptr) return fail({Errc::kIo, "no memory"});
  std::memcpy(*out, text.c_str(), text.size() + 1);
  return HF_CKPT_OK;
}

// New memory comes in 4 KiB pages, and to wait for each costs more than to copy into it. Advice
// only.
void in_large_pages(std::span<std::byte> memory) {
  constexpr std::uintptr_t kLarge = std::uintptr_t{2} << 20;
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::uintptr_t first = (begin + kLarge - 1) / kLarge * kLarge;
  const std::uintptr_t last = (begin + memory.size()) / kLarge * kLarge;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Result<std::unique_ptr<FileReader>> open_tier(hf_ckpt& handle, int tier, const ShardId& id,
                                              std::optional<std::uint64_t>& number) {
  if (tier == HF_CKPT_TIER_FOLDER)
    return handle.folder->open(step_folder(id.attempt, id.step) + "/" + shard_name(id.rank));
  HF_TRY(const MappedImage image, handle.snapshots->open(id));
  number = image.number;
  if (image.bytes > image.region->bytes().size())
    return Error{Errc::kDamaged, "the image in memory is cut off"};
  return memory_reader(image.region->bytes().first(image.bytes), image.region);
}

Result<ShardLayout> layout_of(hf_ckpt& handle, const char* tensors, const ShardId& id,
                              std::uint64_t skeleton_bytes) {
  const std::lock_guard lock(handle.mutex);
  if (handle.last_tensors != tensors) {
    HF_TRY(auto pieces, read_pieces(tensors));
    handle.last_layout =
        lay_out(id, {.job = handle.job, .tensors = std::move(pieces)}, skeleton_bytes);
    handle.last_tensors = tensors;
  }
  return lay_out_as(handle.last_layout, id, skeleton_bytes);
}

Result<hf_ckpt_shard*> open_shard(hf_ckpt& handle, int tier, const ShardId& id,
                                  const char* manifest_text) {
  std::optional<Manifest> manifest;
  if (manifest_text != nullptr) {
    HF_TRY(manifest, read_manifest(manifest_text, "manifest", handle.job, id.attempt, id.step));
    if (id.rank >= manifest->world_size())
      return Error{Errc::kInvalidField, "rank " + std::to_string(id.rank) + " is not in there"};
  }
  const std::string path = step_folder(id.attempt, id.step) + "/" + shard_name(id.rank);
  const std::string name =
      tier == HF_CKPT_TIER_MEMORY ? "memory: " + path : handle.folder->name(path);
  std::optional<std::uint64_t> number;
  auto file = open_tier(handle, tier, id, number);
  Result<ShardReader> reader =
      file.ok() ? ShardReader::open(std::move(*file), name, id,
                                    manifest ? &manifest->shards[id.rank] : nullptr)
                : Result<ShardReader>(file.error());
  if (reader.ok()) return new hf_ckpt_shard{&handle, number, std::move(reader).value()};
  if (number) handle.snapshots->close(*number);
  // A file that a manifest names and that is not there is damage.
  if (reader.error().code == Errc::kNotFound && tier == HF_CKPT_TIER_FOLDER)
    return Error{Errc::kDamaged, reader.error().detail};
  return reader.error();
}

}  // namespace

const char* hf_ckpt_error(void) {
  return last_error.c_str();
}

void hf_ckpt_free(char* text) {
  std::free(text);
}

uint32_t hf_ckpt_abi(void) {
  return 3;
}

int hf_ckpt_open(const char* folder, const char* job, uint64_t attempt, uint64_t keep_last,
                 uint64_t keep_every, uint64_t budget, const char* server, const char* memory_key,
                 hf_ckpt** out) {
  return guarded([&] {
    auto opened = is_far_folder(folder) && server != nullptr ? remote_folder(server, folder)
                                                             : open_posix_folder(folder);
    if (!opened.ok()) return fail(opened.error());
    auto handle = std::make_unique<hf_ckpt>(std::move(*opened), folder, job, attempt,
                                            Retention{keep_last, keep_every, budget});
    if (server != nullptr) {
      auto remote = RemoteSnapshots::connect(server, memory_key, attempt);
      if (!remote.ok()) return fail(remote.error());
      handle->snapshots = std::move(*remote);
    } else {
      handle->snapshots = std::make_unique<LocalSnapshots>(handle->own_memory, "");
    }
    *out = handle.release();
    return static_cast<int>(HF_CKPT_OK);
  });
}

void hf_ckpt_close(hf_ckpt* handle) {
  delete handle;
}

int hf_ckpt_begin(hf_ckpt* handle) {
  return guarded([&] {
    const std::lock_guard lock(handle->mutex);
    return finish(handle->store.begin());
  });
}

int hf_ckpt_chain(hf_ckpt* handle, char** json) {
  return guarded([&] {
    const std::lock_guard lock(handle->mutex);
    const auto commits = handle->store.chain();
    if (!commits.ok()) return fail(commits.error());
    std::string text;
    for (const Base& commit : *commits)
      text += (text.empty() ? "[" : ", [") + std::to_string(commit.attempt) + ", " +
              std::to_string(commit.step) + "]";
    return give("[" + text + "]", json);
  });
}

int hf_ckpt_manifest(hf_ckpt* handle, uint64_t attempt, uint64_t step, char** json) {
  return guarded([&] {
    const std::lock_guard lock(handle->mutex);
    const auto manifest = handle->store.manifest({attempt, step});
    return manifest.ok() ? give(write_manifest(*manifest), json) : fail(manifest.error());
  });
}

int hf_ckpt_images(hf_ckpt* handle, char** json) {
  return guarded([&] {
    const auto images = handle->snapshots->list();
    if (!images.ok()) return fail(*handle, images.error());
    std::string text;
    for (const ImageName& image : *images)
      text += (text.empty() ? "[" : ", [") + std::to_string(image.id.attempt) + ", " +
              std::to_string(image.id.step) + ", " + std::to_string(image.id.rank) + ", " +
              std::to_string(image.id.world_size) + "]";
    return give("[" + text + "]", json);
  });
}

int hf_ckpt_take(hf_ckpt* handle, uint64_t step, uint32_t rank, uint32_t world_size,
                 const char* tensors, const void* skeleton, uint64_t skeleton_bytes, uint64_t* at,
                 void** memory, hf_ckpt_image** out) {
  return guarded([&] {
    auto laid_out =
        layout_of(*handle, tensors, {handle->attempt, step, rank, world_size}, skeleton_bytes);
    if (!laid_out.ok()) return fail(laid_out.error());
    ShardLayout& layout = *laid_out;
    auto image = handle->snapshots->take(rank, layout.header.total);
    if (!image.ok()) return fail(*handle, image.error());
    write_frame(layout, {static_cast<const std::byte*>(skeleton), skeleton_bytes},
                image->region->bytes().first(layout.header.total));
    for (const TensorPiece& piece : layout.index.tensors) *at++ = piece.at;
    *memory = image->region->bytes().data();
    *out = new hf_ckpt_image{handle, std::move(*image), std::move(layout)};
    return static_cast<int>(HF_CKPT_OK);
  });
}

int hf_ckpt_fill(hf_ckpt_image* image, uint64_t count, const void* const* from, const uint64_t* at,
                 const uint64_t* bytes, uint32_t threads) {
  struct Piece {
    const std::byte* from;
    std::byte* to;
    std::uint64_t bytes;
  };
  return guarded([&] {
    const auto memory = image->image.region->bytes().first(image->layout.header.body);
    std::vector<Piece> pieces;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (at[i] > memory.size() || bytes[i] > memory.size() - at[i])
        return fail({Errc::kInvalidField, "piece " + std::to_string(i) + " is not in the image"});
      for (std::uint64_t done = 0; done < bytes[i]; done += kCopyBytes)
        pieces.push_back({static_cast<const std::byte*>(from[i]) + done,
                          memory.data() + at[i] + done, std::min(kCopyBytes, bytes[i] - done)});
    }
    return finish(
        for_each_parallel(pieces.size(), threads, [&](std::size_t i, unsigned) -> Result<void> {
          copy_past_cache(pieces[i].to, pieces[i].from, pieces[i].bytes);
          return {};
        }));
  });
}

int hf_ckpt_lock_pages(hf_ckpt_image* image) {
  return guarded([&] { return finish(image->image.region->lock_pages()); });
}

int hf_ckpt_publish(hf_ckpt_image* image, int will_persist) {
  const std::unique_ptr<hf_ckpt_image> gone(image);
  return guarded([&] {
    const ShardHeader& header = image->layout.header;
    const auto done = image->handle->snapshots->publish(image->image.number, header.id,
                                                        header.total, will_persist != 0);
    if (done.ok() && will_persist != 0) {
      const std::lock_guard lock(image->handle->mutex);
      image->handle->held[{header.id.step, header.id.rank}] = image->image.number;
    }
    return done.ok() ? HF_CKPT_OK : fail(*image->handle, done.error());
  });
}

void hf_ckpt_drop(hf_ckpt_image* image) {
  image->handle->snapshots->drop(image->image.number);
  delete image;
}

int hf_ckpt_persist(hf_ckpt* handle, uint64_t step, uint32_t rank, uint32_t world_size,
                    const char* save, uint32_t threads) {
  return guarded([&] {
    PersistCall call{.folder = handle->path,
                     .request = {.job = handle->job,
                                 .id = {handle->attempt, step, rank, world_size},
                                 .retention = handle->retention,
                                 .created = now_text(),
                                 .save = save,
                                 .threads = threads}};
    {
      const std::lock_guard lock(handle->mutex);
      call.request.base = handle->store.taken();
    }
    const Result<void> done = handle->snapshots->persist(call);
    std::uint64_t held = 0;
    {
      const std::lock_guard lock(handle->mutex);
      const auto found = handle->held.extract({step, rank});
      if (!found.empty()) held = found.mapped();
    }
    if (held != 0) handle->snapshots->close(held);
    return finish(done);
  });
}

int hf_ckpt_refuse(hf_ckpt* handle, uint64_t step, uint32_t rank, uint32_t world_size,
                   const char* save, const char* reason) {
  return guarded([&] {
    refuse(*handle->folder,
           {.job = handle->job,
            .id = {handle->attempt, step, rank, world_size},
            .retention = handle->retention,
            .save = save},
           {Errc::kDiskFull, reason});
    return static_cast<int>(HF_CKPT_OK);
  });
}

int hf_ckpt_address(hf_ckpt* handle, char** address) {
  return guarded([&] {
    const auto found = handle->snapshots->address();
    return found.ok() ? give(*found, address) : fail(found.error());
  });
}

int hf_ckpt_fetch(hf_ckpt* handle, const char* address, uint64_t attempt, uint64_t step,
                  uint32_t rank, uint32_t world_size) {
  return guarded([&] {
    return finish(handle->snapshots->fetch(address, {attempt, step, rank, world_size}));
  });
}

void hf_ckpt_mirror(hf_ckpt* handle, const char* address, uint64_t step, uint32_t rank,
                    uint32_t world_size) {
  handle->snapshots->mirror(address, {handle->attempt, step, rank, world_size});
}

void hf_ckpt_cancel(hf_ckpt* handle, uint64_t step) {
  handle->snapshots->cancel(handle->attempt, step);
}

int hf_ckpt_shard_open(hf_ckpt* handle, int tier, uint64_t attempt, uint64_t step, uint32_t rank,
                       uint32_t world_size, const char* manifest, hf_ckpt_shard** out) {
  return guarded([&] {
    const auto shard = open_shard(*handle, tier, {attempt, step, rank, world_size}, manifest);
    if (!shard.ok()) return fail(shard.error());
    *out = *shard;
    return static_cast<int>(HF_CKPT_OK);
  });
}

int hf_ckpt_shard_index(hf_ckpt_shard* shard, char** json) {
  return guarded([&] { return give(write_index(shard->reader.index()), json); });
}

int hf_ckpt_shard_skeleton(hf_ckpt_shard* shard, const void** bytes, uint64_t* count) {
  *bytes = shard->reader.skeleton().data();
  *count = shard->reader.skeleton().size();
  return HF_CKPT_OK;
}

int hf_ckpt_shard_read(hf_ckpt_shard* shard, uint64_t count, const uint64_t* at, void* const* to,
                       const uint64_t* bytes, uint32_t threads) {
  return guarded([&] {
    std::vector<ShardReader::Destination> wanted;
    const std::uint64_t body = shard->reader.header().body;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (at[i] > body || bytes[i] > body - at[i])
        return fail({Errc::kInvalidField, "piece " + std::to_string(i) + " is not in the shard"});
      auto* const place = to == nullptr ? nullptr : static_cast<std::byte*>(to[i]);
      wanted.push_back({at[i], {place, bytes[i]}});
      if (place != nullptr) in_large_pages(wanted.back().to);
    }
    return finish(shard->reader.read(std::move(wanted), threads));
  });
}

void hf_ckpt_shard_close(hf_ckpt_shard* shard) {
  if (shard->open_number) shard->handle->snapshots->close(*shard->open_number);
  delete shard;
}
