#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint/folder.h"
#include "engine/checkpoint/shard.h"

namespace holdfast::engine {

// Bytes of this process's memory as a file. `keeper` holds them alive.
[[nodiscard]] std::unique_ptr<FileReader> memory_reader(std::span<const std::byte> bytes,
                                                        std::shared_ptr<const void> keeper);

// A shard, wherever it is. Nothing comes out of it that was not verified: a byte is copied, its
// block's checksum is that of the copy, and only then it goes to where it was asked for. What is in
// memory already, where nobody writes it any more, is not copied for that.
class ShardReader {
 public:
  // Reads header, table, skeleton and index. `entry`: what the manifest says; without it the shard
  // vouches for itself. kDamaged when anything differs.
  static Result<ShardReader> open(std::unique_ptr<FileReader> file, std::string name,
                                  const ShardId& id, const ShardEntry* entry);

  [[nodiscard]] const ShardHeader& header() const { return header_; }
  [[nodiscard]] const Index& index() const { return index_; }
  [[nodiscard]] const std::string& skeleton() const { return skeleton_; }
  [[nodiscard]] std::string checksum() const;

  struct Destination {
    std::uint64_t at = 0;     // in the shard
    std::span<std::byte> to;  // data() nullptr: so many bytes are only verified
  };
  // Fills the destinations from the blocks that hold them, verified, on several threads; without
  // any, verifies the whole shard. After an error they hold some verified bytes and some of what
  // they held before. REQUIRES: they do not overlap, and lie in the shard's body.
  Result<void> read(std::vector<Destination> destinations, unsigned threads) const;

 private:
  ShardReader(std::unique_ptr<FileReader> file, std::string name, ShardHeader header)
      : file_(std::move(file)), name_(std::move(name)), header_(header) {}
  Result<void> read_tail(const ShardEntry* entry);
  Result<void> read_blocks(std::uint64_t first, std::uint64_t last,
                           const std::vector<Destination>& destinations, unsigned threads) const;
  Result<void> copy_blocks(std::uint64_t first, std::uint64_t last,
                           const std::vector<Destination>& destinations, unsigned threads) const;
  Result<void> verify(std::uint64_t block, std::span<const std::byte> bytes) const;

  std::unique_ptr<FileReader> file_;
  std::string name_;
  ShardHeader header_;
  std::vector<std::byte> table_;
  Index index_;
  std::string skeleton_;
};

}  // namespace holdfast::engine
