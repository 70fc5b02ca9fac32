#include "engine/checkpoint/snapshots.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "engine/checkpoint/folder_link.h"

namespace holdfast::engine {
namespace {

constexpr std::chrono::milliseconds kFirstLook{1}, kLastLook{50}, kLastFarLook{2000};

}  // namespace

unsigned default_threads() {
  return std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
}

Result<MappedImage> LocalSnapshots::take(std::uint32_t rank, std::uint64_t bytes) {
  HF_TRY(SnapshotMemory::Slot slot, memory_.take(job_, rank, bytes));
  return MappedImage{.number = slot.number, .region = slot.region};
}

Result<void> LocalSnapshots::publish(std::uint64_t number, const ShardId& id, std::uint64_t bytes,
                                     bool hold) {
  return memory_.publish(number, id, bytes, hold);
}

Result<std::vector<ImageName>> LocalSnapshots::list() {
  std::vector<ImageName> names;
  for (const SnapshotMemory::Slot& slot : memory_.list(job_))
    names.push_back({slot.id, slot.bytes});
  return names;
}

Result<MappedImage> LocalSnapshots::open(const ShardId& id) {
  HF_TRY(SnapshotMemory::Slot slot, memory_.pin(job_, id, default_threads()));
  return MappedImage{.number = slot.number, .bytes = slot.bytes, .region = slot.region};
}

Result<void> LocalSnapshots::persist(const PersistCall& call) {
  HF_TRY(const auto folder, open_folder_(call.folder));
  HF_TRY(const SnapshotMemory::Slot slot, memory_.hold(job_, call.request.id));
  memory_.make_ready(job_, call.request.id.rank, slot.bytes);
  bool is_pinned = true;
  const auto unpin = [&] {
    if (is_pinned) memory_.unpin(slot.number);
    is_pinned = false;
  };
  std::uint32_t look = 0;
  std::uint64_t seen = 0;
  const bool is_far = is_far_folder(call.folder);
  Result<void> done =
      engine::persist(*folder, call.request, slot.region->bytes().first(slot.bytes),
                      [&] { return memory_.sealed(slot.number, call.request.threads); },
                      {.wait = [&] { return wait(call.request.id, look++, is_far, seen); },
                       .written = unpin,
                       .told = [&] { tell(call.request.id.rank); }});
  unpin();
  return done;
}

// False: cancelled. Rank 0 waits for the others, and they for rank 0: where those are on this node,
// news of them end the pause. For the rest it looks soon at first, and then ever more seldom. Each
// look at an object store is a few requests, which cost time and money. `seen`: what news there
// were before the last look.
bool LocalSnapshots::wait(const ShardId& id, std::uint32_t look, bool is_far, std::uint64_t& seen) {
  const auto pause = std::min(is_far ? kLastFarLook : kLastLook,
                              (is_far ? kLastLook : kFirstLook) * (1u << std::min(look / 4, 6u)));
  std::unique_lock lock(mutex_);
  const auto is_cancelled = [&] { return std::pair(id.attempt, id.step) <= cancelled_up_to_; };
  const std::uint64_t& news = id.rank == 0 ? news_of_others_ : news_of_zero_;
  changed_.wait_for(lock, pause, [&] { return is_cancelled() || news != seen; });
  seen = news;
  return !is_cancelled();
}

void LocalSnapshots::tell(std::uint32_t rank) {
  const std::lock_guard lock(mutex_);
  ++(rank == 0 ? news_of_zero_ : news_of_others_);
  changed_.notify_all();
}

void LocalSnapshots::cancel(std::uint64_t attempt, std::uint64_t step) {
  const std::lock_guard lock(mutex_);
  cancelled_up_to_ = std::max(cancelled_up_to_, std::pair(attempt, step));
  changed_.notify_all();
}

}  // namespace holdfast::engine
