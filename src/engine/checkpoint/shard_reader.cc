#include "engine/checkpoint/shard_reader.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/checkpoint/copy_past_cache.h"
#include "engine/checkpoint/parallel.h"

namespace holdfast::engine {
namespace {

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using Buffer = std::unique_ptr<std::byte, Free>;

Buffer aligned_buffer(std::size_t bytes) {
  return Buffer(static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)));
}

// A buffer for each thread. For a direct read the kernel looks up each page of it, and makes it if
// it is new: in pages of 4 KiB that took three to four times as long as the disk. So it is a
// mapping of its own, because malloc would give pages that are small already. Advice only.
class ReadBuffers {
 public:
  ReadBuffers(std::size_t count, std::uint64_t bytes_each)
      : bytes_each_(bytes_each),
        bytes_((count * bytes_each + 2 * kLargePage - 1) / kLargePage * kLargePage) {
    mapped_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped_ != MAP_FAILED) ::madvise(mapped_, bytes_, MADV_HUGEPAGE);
  }
  ReadBuffers(const ReadBuffers&) = delete;
  ReadBuffers& operator=(const ReadBuffers&) = delete;
  ~ReadBuffers() {
    if (mapped_ != MAP_FAILED) ::munmap(mapped_, bytes_);
  }
  [[nodiscard]] bool ok() const { return mapped_ != MAP_FAILED; }
  [[nodiscard]] std::byte* at(std::size_t index) const {
    const auto from = reinterpret_cast<std::uintptr_t>(mapped_);
    const std::size_t skipped = (kLargePage - from % kLargePage) % kLargePage;
    return static_cast<std::byte*>(mapped_) + skipped + index * bytes_each_;
  }

 private:
  static constexpr std::size_t kLargePage = std::size_t{2} << 20;
  const std::uint64_t bytes_each_;
  const std::size_t bytes_;
  void* mapped_;
};

class MemoryReader final : public FileReader {
 public:
  MemoryReader(std::span<const std::byte> bytes, std::shared_ptr<const void> keeper)
      : bytes_(bytes), keeper_(std::move(keeper)) {}
  [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    if (offset > bytes_.size() || to.size() > bytes_.size() - offset)
      return Error{Errc::kDamaged, "the shard ends early"};
    std::memcpy(to.data(), bytes_.data() + offset, to.size());
    return {};
  }
  [[nodiscard]] std::span<const std::byte> mapped() const override { return bytes_; }

 private:
  const std::span<const std::byte> bytes_;
  const std::shared_ptr<const void> keeper_;
};

// Copies the parts of [from, from + bytes) that are wanted. `wanted` is in order of `at`.
void hand_out(std::uint64_t from, std::span<const std::byte> bytes,
              const std::vector<ShardReader::Destination>& wanted) {
  const std::uint64_t end = from + bytes.size();
  auto next = std::ranges::upper_bound(wanted, from, {}, &ShardReader::Destination::at);
  if (next != wanted.begin()) --next;
  for (; next != wanted.end() && next->at < end; ++next) {
    const std::uint64_t begin = std::max(from, next->at);
    const std::uint64_t stop = std::min(end, next->at + next->to.size());
    if (begin < stop && next->to.data() != nullptr)
      copy_past_cache(next->to.data() + (begin - next->at), bytes.data() + (begin - from),
                      stop - begin);
  }
}

}  // namespace

std::unique_ptr<FileReader> memory_reader(std::span<const std::byte> bytes,
                                          std::shared_ptr<const void> keeper) {
  return std::make_unique<MemoryReader>(bytes, std::move(keeper));
}

Result<ShardReader> ShardReader::open(std::unique_ptr<FileReader> file, std::string name,
                                      const ShardId& id, const ShardEntry* entry) {
  const auto damaged = [&](const std::string& what) {
    return Error{Errc::kDamaged, name + ": " + what};
  };
  const std::uint64_t total = file->size();
  if (entry != nullptr && entry->bytes != total)
    return damaged("has " + std::to_string(total) + " bytes, its manifest says " +
                   std::to_string(entry->bytes));
  if (total < kHeaderBytes || total % kAlignment != 0)
    return damaged("has " + std::to_string(total) + " bytes, which no shard has");
  const Buffer head = aligned_buffer(kHeaderBytes);
  HF_TRY_VOID(file->read_at(0, {head.get(), kHeaderBytes}));
  HF_TRY(const ShardHeader header, read_header({head.get(), kHeaderBytes}, total, name));
  if (header.id != id) return damaged("it is of another attempt, step, rank or world size");
  ShardReader reader(std::move(file), std::move(name), header);
  HF_TRY_VOID(reader.read_tail(entry));
  return reader;
}

std::string ShardReader::checksum() const {
  return table_checksum(std::span(table_).first(header_.blocks() * sizeof(std::uint64_t)));
}

// Skeleton, index and table stand together at the end: one read brings them all.
Result<void> ShardReader::read_tail(const ShardEntry* entry) {
  const std::uint64_t first = std::min(header_.skeleton_at, header_.index_at) / kBlockBytes;
  const std::uint64_t from = first * kBlockBytes;
  std::span<const std::byte> tail = file_->mapped();
  Buffer buffer;
  if (tail.empty()) {
    buffer = aligned_buffer(header_.total - from);
    if (!buffer) return Error{Errc::kDamaged, name_ + ": too large for this machine's memory"};
    HF_TRY_VOID(file_->read_at(from, {buffer.get(), header_.total - from}));
    tail = {buffer.get(), header_.total - from};
  } else {
    tail = tail.subspan(from);
  }
  const auto table = tail.subspan(header_.body - from);
  table_.assign(table.begin(), table.end());
  if (entry != nullptr && entry->checksum != checksum())
    return Error{Errc::kDamaged,
                 name_ + ": checksum is " + checksum() + ", its manifest says " + entry->checksum};
  for (std::uint64_t block = first; block < header_.blocks(); ++block) {
    const std::uint64_t at = block * kBlockBytes - from;
    HF_TRY_VOID(verify(block, tail.subspan(at, std::min(kBlockBytes, header_.body - from - at))));
  }
  const auto text = [&](std::uint64_t at, std::uint64_t bytes) {
    return std::string(reinterpret_cast<const char*>(tail.data()) + (at - from), bytes);
  };
  HF_TRY(index_, read_index(text(header_.index_at, header_.index_bytes), name_, header_.body));
  skeleton_ = text(header_.skeleton_at, header_.skeleton_bytes);
  return {};
}

Result<void> ShardReader::read(std::vector<Destination> destinations, unsigned threads) const {
  if (destinations.empty()) return read_blocks(0, header_.blocks(), destinations, threads);
  std::ranges::sort(destinations, {}, &Destination::at);
  std::uint64_t first = 0, last = 0;  // of a run of blocks that are wanted
  for (const Destination& wanted : destinations) {
    const std::uint64_t begin = wanted.at / kBlockBytes;
    if (begin > last) {
      HF_TRY_VOID(read_blocks(first, last, destinations, threads));
      first = begin;
    }
    const std::uint64_t end = wanted.at + wanted.to.size();
    last = std::max(last, (end + kBlockBytes - 1) / kBlockBytes);
  }
  return read_blocks(first, last, destinations, threads);
}

Result<void> ShardReader::read_blocks(std::uint64_t first, std::uint64_t last,
                                      const std::vector<Destination>& destinations,
                                      unsigned threads) const {
  if (!file_->mapped().empty()) return copy_blocks(first, last, destinations, threads);
  const std::uint64_t run = std::max<std::uint64_t>(file_->read_bytes() / kBlockBytes, 1);
  const std::uint64_t runs = (last - first + run - 1) / run;
  threads = static_cast<unsigned>(std::clamp<std::uint64_t>(runs, 1, std::max(threads, 1u)));
  const ReadBuffers buffers(threads, run * kBlockBytes);
  if (!buffers.ok()) return Error{Errc::kUnavailable, "no memory to read " + name_};
  return for_each_parallel(runs, threads, [&](std::size_t i, unsigned thread) -> Result<void> {
    const std::uint64_t block = first + i * run;
    const std::uint64_t from = block * kBlockBytes;
    const std::uint64_t to = std::min(header_.body, std::min(block + run, last) * kBlockBytes);
    const std::span<std::byte> bytes(buffers.at(thread), to - from);
    HF_TRY_VOID(file_->read_at(from, bytes));
    for (std::uint64_t at = 0; at < bytes.size(); at += kBlockBytes) {
      const auto one = bytes.subspan(at, std::min(kBlockBytes, bytes.size() - at));
      HF_TRY_VOID(verify(block + at / kBlockBytes, one));
      hand_out(from + at, one, destinations);
    }
    return {};
  });
}

// Of what is in memory: each block is copied while the processor's cache has it from its checksum.
Result<void> ShardReader::copy_blocks(std::uint64_t first, std::uint64_t last,
                                      const std::vector<Destination>& destinations,
                                      unsigned threads) const {
  const std::span<const std::byte> body = file_->mapped().first(header_.body);
  return for_each_parallel(last - first, threads, [&](std::size_t i, unsigned) -> Result<void> {
    const std::uint64_t from = (first + i) * kBlockBytes;
    const auto bytes = body.subspan(from, std::min(kBlockBytes, body.size() - from));
    HF_TRY_VOID(verify(first + i, bytes));
    hand_out(from, bytes, destinations);
    return {};
  });
}

Result<void> ShardReader::verify(std::uint64_t block, std::span<const std::byte> bytes) const {
  std::uint64_t expected = 0;
  std::memcpy(&expected, table_.data() + block * sizeof expected, sizeof expected);
  if (block_checksum(bytes) == expected) return {};
  return Error{Errc::kDamaged, name_ + ": block " + std::to_string(block) + " of " +
                                   std::to_string(header_.blocks()) +
                                   " (1 MiB each) has changed since it was written"};
}

}  // namespace holdfast::engine
