#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint/manifest.h"

namespace holdfast::engine {

// The bytes of a shard (docs/checkpoint-format.md). Pure: no files, no clock.

inline constexpr std::uint64_t kHeaderBytes = 4096;
inline constexpr std::uint64_t kBlockBytes = std::uint64_t{1} << 20;

struct ShardId {
  std::uint64_t attempt = 0;
  std::uint64_t step = 0;
  std::uint32_t rank = 0;
  std::uint32_t world_size = 0;
  friend bool operator==(const ShardId&, const ShardId&) = default;
};

struct ShardHeader {
  std::uint64_t total = 0;
  std::uint64_t body = 0;  // where the table begins
  std::uint64_t skeleton_at = 0, skeleton_bytes = 0;
  std::uint64_t index_at = 0, index_bytes = 0;
  ShardId id;
  [[nodiscard]] std::uint64_t blocks() const { return (body + kBlockBytes - 1) / kBlockBytes; }
};

// Where everything goes, and the header and index that say so.
struct ShardLayout {
  ShardHeader header;
  Index index;  // its tensors have their `at`
  std::string index_text;
};
[[nodiscard]] ShardLayout lay_out(const ShardId& id, Index index, std::uint64_t skeleton_bytes);
// The same tensors in the same places, in another shard.
[[nodiscard]] ShardLayout lay_out_as(ShardLayout layout, const ShardId& id,
                                     std::uint64_t skeleton_bytes);

// Writes all of the image but its tensors and its table. The bytes between the tensors become 0.
// REQUIRES: image has header.total bytes, skeleton header.skeleton_bytes.
void write_frame(const ShardLayout& layout, std::span<const std::byte> skeleton,
                 std::span<std::byte> image);

// Reads the first kHeaderBytes of a shard of `total` bytes. What it gives is consistent: every part
// lies inside the shard. REQUIRES: bytes has kHeaderBytes.
[[nodiscard]] Result<ShardHeader> read_header(std::span<const std::byte> bytes, std::uint64_t total,
                                              const std::string& name);

// Fills the table of an image whose other bytes are there; the table's checksum. An image that is
// changed meanwhile gives a wrong table, no more. kDamaged when its header is not of `total` bytes.
[[nodiscard]] Result<std::string> seal(std::span<std::byte> image, unsigned threads);

[[nodiscard]] std::uint64_t block_checksum(std::span<const std::byte> block);
// "xxh3-128:..."
[[nodiscard]] std::string table_checksum(std::span<const std::byte> table);

}  // namespace holdfast::engine
