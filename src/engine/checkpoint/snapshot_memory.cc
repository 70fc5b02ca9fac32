#include "engine/checkpoint/snapshot_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "base/os_error.h"

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kLargePage = std::uint64_t{2} << 20, kRoundTo = std::uint64_t{1} << 20;
constexpr std::uint64_t kPage = 4096;

bool is_older(const ShardId& a, const ShardId& b) {
  return std::pair(a.attempt, a.step) < std::pair(b.attempt, b.step);
}

// Where a large page can be mapped as one.
void* map_aligned(int fd, std::uint64_t bytes, int protection, int flags) {
  if (bytes < kLargePage) return ::mmap(nullptr, bytes, protection, flags, fd, 0);
  const std::uint64_t reserved = bytes + kLargePage;
  void* const found =
      ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) return found;
  const auto begin = reinterpret_cast<std::uintptr_t>(found);
  const std::uintptr_t from = (begin + kLargePage - 1) / kLargePage * kLargePage;
  const std::uintptr_t end = (from + bytes + kPage - 1) / kPage * kPage;
  void* const at =
      ::mmap(reinterpret_cast<void*>(from), bytes, protection, flags | MAP_FIXED, fd, 0);
  const int number = errno;
  if (at == MAP_FAILED) {
    ::munmap(found, reserved);
  } else {
    if (from > begin) ::munmap(found, from - begin);
    if (begin + reserved > end) ::munmap(reinterpret_cast<void*>(end), begin + reserved - end);
  }
  errno = number;
  return at;
}

// Shared memory comes in pages of 4 KiB, even where large ones are on for all else. A disk writes
// such memory at half its rate, since a page is a segment of a request of its own; to make it takes
// eight times as long, and to map it two hundred times. Advice only: what is left in small pages is
// made by fallocate().
void in_large_pages(int fd, std::uint64_t bytes) {
  constexpr int kCollapse = 25;  // MADV_COLLAPSE of Linux 6.1; the headers may be older
  const std::uint64_t large = bytes / kLargePage * kLargePage;
  if (large == 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0) return;
  void* const at = map_aligned(fd, large, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (at == MAP_FAILED) return;
  bool has_begun = true;  // each with its first 4 KiB: of nothing no large page is made
  for (std::uint64_t page = 0; has_begun && page < large; page += kLargePage)
    has_begun = ::fallocate(fd, 0, static_cast<off_t>(page), kPage) == 0;
  if (has_begun) ::madvise(at, large, kCollapse);
  ::munmap(at, large);
}

}  // namespace

Result<std::shared_ptr<Region>> Region::make(std::uint64_t bytes) {
  const int fd = ::memfd_create("holdfast-checkpoint", MFD_CLOEXEC);
  if (fd < 0) return os_error("cannot make", "shared memory", errno);
  in_large_pages(fd, bytes);
  if (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0) {
    const int number = errno;
    ::close(fd);
    return os_error("cannot make", std::to_string(bytes) + " bytes of shared memory", number);
  }
  return map(fd, bytes, true);
}

Result<std::shared_ptr<Region>> Region::map(int fd, std::uint64_t bytes, bool writable) {
  const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
  // Who writes all of it is spared a fault for each page; who reads gets several at a fault.
  const int flags = MAP_SHARED | (writable ? MAP_POPULATE : 0);
  void* at = map_aligned(fd, bytes, protection, flags);
  if (at == MAP_FAILED) {
    const int number = errno;
    ::close(fd);
    return os_error("cannot map", std::to_string(bytes) + " bytes of shared memory", number);
  }
  return std::shared_ptr<Region>(new Region(fd, {static_cast<std::byte*>(at), bytes}, writable));
}

Region::Region(int fd, std::span<std::byte> bytes, bool is_writable)
    : fd_(fd), bytes_(bytes), is_writable_(is_writable) {
  static std::atomic<std::uint64_t> last = 0;
  id_ = ++last;
}

Result<void> Region::lock_pages() {
  if (lock_.has_value()) return {};
  HF_TRY(PageLock lock, PageLock::of(bytes_));
  lock_.emplace(std::move(lock));
  return {};
}

Region::~Region() {
  lock_.reset();
  ::munmap(bytes_.data(), bytes_.size());
  ::close(fd_);
}

// A slot to fill: a free one, else the oldest image but never the newest.
SnapshotMemory::Slot* SnapshotMemory::choose(std::vector<Slot>& slots) {
  const Slot* newest = nullptr;
  for (const Slot& slot : slots)
    if (slot.holds_image() && (newest == nullptr || is_older(newest->id, slot.id))) newest = &slot;
  Slot* best = nullptr;
  for (Slot& slot : slots) {
    if (&slot == newest || slot.pins > 0) continue;
    if (slot.state == Slot::State::kFree) return &slot;
    const bool is_idle = slot.state == Slot::State::kFilled || slot.state == Slot::State::kComplete;
    if (is_idle && (best == nullptr || is_older(slot.id, best->id))) best = &slot;
  }
  return best;
}

Result<SnapshotMemory::Slot> SnapshotMemory::take(const std::string& job, std::uint32_t rank,
                                                  std::uint64_t bytes) {
  std::unique_lock lock(mutex_);
  std::vector<Slot>& slots = slots_[{job, rank}];
  Slot* slot = choose(slots);
  if (slot == nullptr) {
    if (slots.size() == kSlots)
      return Error{Errc::kUnavailable, "all " + std::to_string(kSlots) +
                                           " memory slots of this rank are in use: the disk is "
                                           "behind; save less often"};
    slot = &slots.emplace_back();
  }
  slot->state = Slot::State::kFilling;
  slot->number = ++last_number_;
  const std::uint64_t number = slot->number;
  if (slot->region && slot->region->bytes().size() >= bytes) return *slot;
  // Making room takes a second for each few GiB: others need not wait for it.
  slot->region.reset();
  lock.unlock();
  const std::uint64_t round_to = bytes > kRoundTo ? kLargePage : kRoundTo;
  auto region = Region::make((bytes + round_to - 1) / round_to * round_to);
  lock.lock();
  slot = find(number);
  if (slot == nullptr) return Error{Errc::kUnavailable, "the job has ended"};
  if (!region.ok()) {
    slot->state = Slot::State::kFree;
    return region.error();
  }
  slot->region = *region;
  return *slot;
}

void SnapshotMemory::drop(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  Slot* slot = find(number);
  if (slot != nullptr && slot->state == Slot::State::kFilling) slot->state = Slot::State::kFree;
}

Result<void> SnapshotMemory::publish(std::uint64_t number, const ShardId& id, std::uint64_t bytes,
                                     bool hold) {
  const std::lock_guard lock(mutex_);
  Slot* slot = find(number);
  if (slot == nullptr || slot->state != Slot::State::kFilling || !slot->region ||
      bytes > slot->region->bytes().size())
    return Error{Errc::kWrongState, "the image is not being filled"};
  slot->state = Slot::State::kFilled;
  slot->id = id;
  slot->bytes = bytes;
  slot->pins = hold ? 1 : 0;
  changed_.notify_all();
  return {};
}

void SnapshotMemory::seal_now(std::uint64_t number, unsigned threads) {
  std::unique_lock lock(mutex_);
  Slot* slot = find(number);
  if (slot == nullptr || slot->state != Slot::State::kFilled) return;
  slot->state = Slot::State::kSealing;
  const std::shared_ptr<Region> region = slot->region;
  const ShardId id = slot->id;
  const auto image = region->bytes().first(slot->bytes);
  lock.unlock();
  const Result<std::string> checksum = seal(image, threads);
  bool is_good = checksum.ok();
  if (is_good) {
    const auto header = read_header(image.first(kHeaderBytes), image.size(), "the image");
    is_good = header.ok() && header->id == id;
  }
  lock.lock();
  slot = find(number);
  if (slot != nullptr) {
    slot->state = is_good ? Slot::State::kComplete : Slot::State::kFree;
    if (is_good) slot->checksum = *checksum;
  }
  changed_.notify_all();
}

void SnapshotMemory::make_ready(const std::string& job, std::uint32_t rank, std::uint64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    const auto slots = slots_.find({job, rank});
    if (slots == slots_.end() || slots->second.size() != 1) return;
  }
  const Result<Slot> slot = take(job, rank, bytes);
  if (slot.ok()) drop(slot->number);
}

bool SnapshotMemory::has(const std::string& job, const ShardId& id) {
  const std::lock_guard lock(mutex_);
  return find(job, id) != nullptr;
}

void SnapshotMemory::wait_published(const std::string& job, const ShardId& id,
                                    std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [&] { return find(job, id) != nullptr; });
}

std::vector<SnapshotMemory::Slot> SnapshotMemory::list(const std::string& job) const {
  const std::lock_guard lock(mutex_);
  std::vector<Slot> found;
  for (const auto& [key, slots] : slots_)
    for (const Slot& slot : slots)
      if (key.first == job && slot.holds_image()) found.push_back(slot);
  return found;
}

SnapshotMemory::Slot* SnapshotMemory::find(const std::string& job, const ShardId& id) {
  const auto slots = slots_.find({job, id.rank});
  if (slots == slots_.end()) return nullptr;
  for (Slot& slot : slots->second)
    if (slot.holds_image() && slot.id == id) return &slot;
  return nullptr;
}

Result<SnapshotMemory::Slot> SnapshotMemory::hold(const std::string& job, const ShardId& id) {
  const std::lock_guard lock(mutex_);
  Slot* slot = find(job, id);
  if (slot == nullptr)
    return Error{Errc::kNotFound, "attempt " + std::to_string(id.attempt) + ", step " +
                                      std::to_string(id.step) + " of rank " +
                                      std::to_string(id.rank) + " is not in memory"};
  ++slot->pins;
  return *slot;
}

Result<std::string> SnapshotMemory::sealed(std::uint64_t number, unsigned threads) {
  seal_now(number, threads);
  std::unique_lock lock(mutex_);
  const Slot* slot = nullptr;
  changed_.wait(lock, [&] {
    slot = find(number);
    return slot == nullptr || slot->state != Slot::State::kSealing;
  });
  if (slot == nullptr || slot->state != Slot::State::kComplete)
    return Error{Errc::kNotFound, "the image in memory is not what it is called, or its job ended"};
  return slot->checksum;
}

Result<SnapshotMemory::Slot> SnapshotMemory::pin(const std::string& job, const ShardId& id,
                                                 unsigned threads) {
  HF_TRY(Slot slot, hold(job, id));
  Result<std::string> checksum = sealed(slot.number, threads);
  if (!checksum.ok()) {
    unpin(slot.number);
    return checksum.error();
  }
  slot.state = Slot::State::kComplete;
  slot.checksum = std::move(*checksum);
  return slot;
}

void SnapshotMemory::unpin(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  Slot* slot = find(number);
  if (slot != nullptr && slot->pins > 0) --slot->pins;
}

void SnapshotMemory::forget(const std::string& job) {
  const std::lock_guard lock(mutex_);
  std::erase_if(slots_, [&](const auto& entry) { return entry.first.first == job; });
  changed_.notify_all();
}

std::uint64_t SnapshotMemory::bytes() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t sum = 0;
  for (const auto& [key, slots] : slots_)
    for (const Slot& slot : slots) sum += slot.region ? slot.region->bytes().size() : 0;
  return sum;
}

SnapshotMemory::Slot* SnapshotMemory::find(std::uint64_t number) {
  for (auto& [key, slots] : slots_)
    for (Slot& slot : slots)
      if (slot.number == number && number != 0) return &slot;
  return nullptr;
}

}  // namespace holdfast::engine
