#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint/persist.h"
#include "engine/checkpoint/posix_folder.h"
#include "engine/checkpoint/snapshot_memory.h"

namespace holdfast::engine {

struct PersistCall {
  std::string folder;
  PersistRequest request;
};

// An image that this process has mapped.
struct MappedImage {
  std::uint64_t number = 0;
  std::uint64_t bytes = 0;  // of the image; of a fresh one: 0
  std::shared_ptr<Region> region;
};

struct ImageName {
  ShardId id;
  std::uint64_t bytes = 0;
};

// Where the states of one job's ranks are kept in memory and written behind: in this process, or in
// the node's snapshot server, which outlives the ranks. Thread-safe; persist() may take long and
// runs beside the others.
class Snapshots {
 public:
  virtual ~Snapshots() = default;
  // Room for an image. kUnavailable: all slots are in use.
  virtual Result<MappedImage> take(std::uint32_t rank, std::uint64_t bytes) = 0;
  virtual void drop(std::uint64_t number) = 0;
  // Filled: it counts from here on, also if this process dies now. `hold`: it is not filled again
  // until close().
  virtual Result<void> publish(std::uint64_t number, const ShardId& id, std::uint64_t bytes,
                               bool hold) = 0;
  [[nodiscard]] virtual Result<std::vector<ImageName>> list() = 0;
  // To read; it is not filled again until close(). kNotFound.
  virtual Result<MappedImage> open(const ShardId& id) = 0;
  virtual void close(std::uint64_t number) = 0;
  // persist() of a published image, with its waits.
  virtual Result<void> persist(const PersistCall& call) = 0;
  // False: the memory is gone, and every call fails from here on.
  [[nodiscard]] virtual bool is_alive() const { return true; }
  // Where the snapshot servers of other nodes reach this one's; empty: they do not.
  [[nodiscard]] virtual Result<std::string> address() { return std::string(); }
  // Brings an image from another node's memory into this one's. kNotFound: there is none.
  virtual Result<void> fetch(const std::string&, const ShardId&) {
    return Error{Errc::kNotFound, "there is no snapshot server"};
  }
  // The same behind training, once that node has it: a replica. Of each rank the newest counts.
  virtual void mirror(const std::string&, const ShardId&) {}
  // persist() of steps up to this one of this attempt, or of older ones, stops waiting for others.
  virtual void cancel(std::uint64_t attempt, std::uint64_t step) = 0;
};

// What a job's ranks on this node share. `memory` outlives it.
class LocalSnapshots final : public Snapshots {
 public:
  LocalSnapshots(SnapshotMemory& memory, std::string job,
                 FolderOpener open_folder = open_posix_folder)
      : memory_(memory), job_(std::move(job)), open_folder_(std::move(open_folder)) {}

  Result<MappedImage> take(std::uint32_t rank, std::uint64_t bytes) override;
  void drop(std::uint64_t number) override { memory_.drop(number); }
  Result<void> publish(std::uint64_t number, const ShardId& id, std::uint64_t bytes,
                       bool hold) override;
  [[nodiscard]] Result<std::vector<ImageName>> list() override;
  Result<MappedImage> open(const ShardId& id) override;
  void close(std::uint64_t number) override { memory_.unpin(number); }
  Result<void> persist(const PersistCall& call) override;
  void cancel(std::uint64_t attempt, std::uint64_t step) override;

  [[nodiscard]] const std::string& name() const { return job_; }
  // Nothing waits any more, now and later.
  void stop() { cancel(UINT64_MAX, UINT64_MAX); }

 private:
  bool wait(const ShardId& id, std::uint32_t look, bool is_far, std::uint64_t& seen);
  void tell(std::uint32_t rank);

  SnapshotMemory& memory_;
  const std::string job_;
  const FolderOpener open_folder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t news_of_zero_ = 0, news_of_others_ = 0;            // of ranks of this node, so far
  std::pair<std::uint64_t, std::uint64_t> cancelled_up_to_{0, 0};  // attempt, step
};

// As many as the machine has cores, up to 8: more gain nothing on memory or disk.
[[nodiscard]] unsigned default_threads();

}  // namespace holdfast::engine
