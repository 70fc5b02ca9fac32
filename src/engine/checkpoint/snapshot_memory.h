#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint/page_lock.h"
#include "engine/checkpoint/shard.h"

namespace holdfast::engine {

// Shared memory that has no name: it goes when the last process that holds it does.
class Region {
 public:
  // `bytes` of memory, there at once: later use does not fail for lack of it, nor wait for pages.
  // In large pages where the kernel gives them.
  static Result<std::shared_ptr<Region>> make(std::uint64_t bytes);
  // Another process's. Takes the descriptor.
  static Result<std::shared_ptr<Region>> map(int fd, std::uint64_t bytes, bool writable);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  // Unlike any other that this process has made.
  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
  [[nodiscard]] bool is_writable() const { return is_writable_; }
  // Locked for devices from here on (PageLock); again costs nothing. One thread at a time.
  Result<void> lock_pages();

 private:
  Region(int fd, std::span<std::byte> bytes, bool is_writable);
  int fd_;
  std::uint64_t id_;
  std::span<std::byte> bytes_;
  bool is_writable_;
  std::optional<PageLock> lock_;
};

// The newest states of the ranks of some jobs, in memory: of each rank at most four images. One is
// the newest, one is being filled, and there is one more while the disk, and one while a peer, is
// behind. So the memory is at most four times the state, twice where both keep up.
//
// Thread-safe. Images are numbered; a number names one filling of one slot and is never used again.
class SnapshotMemory {
 public:
  static constexpr std::size_t kSlots = 4;

  struct Slot {
    // A filled one counts as complete; it is sealed when it is first wanted, or before.
    enum class State { kFree, kFilling, kFilled, kSealing, kComplete } state = State::kFree;
    [[nodiscard]] bool holds_image() const { return state >= State::kFilled; }
    std::uint64_t number = 0;
    std::shared_ptr<Region> region;
    ShardId id;
    std::uint64_t bytes = 0;
    std::string checksum;
    std::uint32_t pins = 0;  // it is being read: it must not be filled
  };

  // Room for an image of this rank. kUnavailable: all slots are in use.
  Result<Slot> take(const std::string& job, std::uint32_t rank, std::uint64_t bytes);
  // Gives up the filling of an image. A number that is not being filled is left alone.
  void drop(std::uint64_t number);
  // The image is filled: from here on it counts. `hold`: pinned, for who will persist it.
  Result<void> publish(std::uint64_t number, const ShardId& id, std::uint64_t bytes, bool hold);
  // Seals it now. An image that is not of its id is dropped.
  void seal_now(std::uint64_t number, unsigned threads);
  // Makes room for the next image of the rank, so that its save need not wait for that.
  void make_ready(const std::string& job, std::uint32_t rank, std::uint64_t bytes);

  [[nodiscard]] bool has(const std::string& job, const ShardId& id);
  // Until it has, or the time is over.
  void wait_published(const std::string& job, const ShardId& id, std::chrono::milliseconds time);
  [[nodiscard]] std::vector<Slot> list(const std::string& job) const;
  // One of them, pinned and maybe not sealed yet. kNotFound.
  Result<Slot> hold(const std::string& job, const ShardId& id);
  // The checksum of an image that is held: waits until it is sealed, or seals it. kNotFound: it was
  // dropped, since it is not of its id, or its job has ended.
  Result<std::string> sealed(std::uint64_t number, unsigned threads);
  // Both.
  Result<Slot> pin(const std::string& job, const ShardId& id, unsigned threads);
  void unpin(std::uint64_t number);
  // The job has ended. What is pinned goes when it is unpinned.
  void forget(const std::string& job);
  // Of all slots.
  [[nodiscard]] std::uint64_t bytes() const;

 private:
  using Key = std::pair<std::string, std::uint32_t>;
  Slot* choose(std::vector<Slot>& slots);
  Slot* find(std::uint64_t number);
  Slot* find(const std::string& job, const ShardId& id);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, std::vector<Slot>> slots_;
  std::uint64_t last_number_ = 0;
};

}  // namespace holdfast::engine
