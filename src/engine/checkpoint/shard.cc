#include "engine/checkpoint/shard.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "engine/checkpoint/folder.h"
#include "engine/checkpoint/parallel.h"

namespace holdfast::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little-endian");

constexpr char kMagic[] = "HFSHARD2";
constexpr std::uint64_t kTensorAlignment = 64;
constexpr std::size_t kHeaderChecksumAt = 4088;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
  return (value + to - 1) / to * to;
}

template <class T>
void put(std::span<std::byte> bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

template <class T>
T get(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// Whether [at, at + bytes) lies in [kHeaderBytes, end).
bool inside(std::uint64_t at, std::uint64_t bytes, std::uint64_t end) {
  return at >= kHeaderBytes && at <= end && bytes <= end - at;
}

void write_header(const ShardHeader& header, std::span<std::byte> bytes) {
  std::memset(bytes.data(), 0, kHeaderBytes);
  std::memcpy(bytes.data(), kMagic, 8);
  put(bytes, 8, header.total);
  put(bytes, 16, header.body);
  put(bytes, 24, header.skeleton_at);
  put(bytes, 32, header.skeleton_bytes);
  put(bytes, 40, header.index_at);
  put(bytes, 48, header.index_bytes);
  put(bytes, 56, header.id.attempt);
  put(bytes, 64, header.id.step);
  put(bytes, 72, header.id.rank);
  put(bytes, 76, header.id.world_size);
  put(bytes, kHeaderChecksumAt, block_checksum(bytes.first(kHeaderChecksumAt)));
}

}  // namespace

std::uint64_t block_checksum(std::span<const std::byte> block) {
  return XXH3_64bits(block.data(), block.size());
}

std::string table_checksum(std::span<const std::byte> table) {
  const XXH128_hash_t hash = XXH3_128bits(table.data(), table.size());
  char text[64];
  std::snprintf(text, sizeof text, "xxh3-128:%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

ShardLayout lay_out(const ShardId& id, Index index, std::uint64_t skeleton_bytes) {
  ShardLayout layout;
  std::uint64_t at = kHeaderBytes;
  for (TensorPiece& piece : index.tensors) {
    piece.at = round_up(at, kTensorAlignment);
    at = piece.at + piece.bytes;
  }
  layout.index_text = write_index(index);
  layout.index = std::move(index);
  layout.header.skeleton_at = at;
  return lay_out_as(std::move(layout), id, skeleton_bytes);
}

ShardLayout lay_out_as(ShardLayout layout, const ShardId& id, std::uint64_t skeleton_bytes) {
  ShardHeader& header = layout.header;
  header.id = id;
  header.skeleton_bytes = skeleton_bytes;
  header.index_at = header.skeleton_at + skeleton_bytes;
  header.index_bytes = layout.index_text.size();
  header.body = round_up(header.index_at + header.index_bytes, kAlignment);
  header.total = header.body + round_up(header.blocks() * sizeof(std::uint64_t), kAlignment);
  return layout;
}

void write_frame(const ShardLayout& layout, std::span<const std::byte> skeleton,
                 std::span<std::byte> image) {
  const ShardHeader& header = layout.header;
  CHECK(image.size() == header.total && skeleton.size() == header.skeleton_bytes);
  std::uint64_t at = kHeaderBytes;
  for (const TensorPiece& piece : layout.index.tensors) {
    std::memset(image.data() + at, 0, piece.at - at);
    at = piece.at + piece.bytes;
  }
  std::ranges::copy(skeleton, image.begin() + static_cast<std::ptrdiff_t>(header.skeleton_at));
  std::memcpy(image.data() + header.index_at, layout.index_text.data(), header.index_bytes);
  at = header.index_at + header.index_bytes;
  std::memset(image.data() + at, 0, header.total - at);
  write_header(header, image);
}

Result<ShardHeader> read_header(std::span<const std::byte> bytes, std::uint64_t total,
                                const std::string& name) {
  const auto damaged = [&](const std::string& what) {
    return Error{Errc::kDamaged, name + ": " + what};
  };
  if (std::memcmp(bytes.data(), kMagic, 8) != 0) {
    if (std::memcmp(bytes.data(), kMagic, 7) == 0)
      return Error{Errc::kWrongState,
                   name + ": it is a shard of another version; use the release that wrote it"};
    return damaged("it does not begin as a shard");
  }
  if (get<std::uint64_t>(bytes, kHeaderChecksumAt) !=
      block_checksum(bytes.first(kHeaderChecksumAt)))
    return damaged("its header has changed");
  ShardHeader header{.total = get<std::uint64_t>(bytes, 8),
                     .body = get<std::uint64_t>(bytes, 16),
                     .skeleton_at = get<std::uint64_t>(bytes, 24),
                     .skeleton_bytes = get<std::uint64_t>(bytes, 32),
                     .index_at = get<std::uint64_t>(bytes, 40),
                     .index_bytes = get<std::uint64_t>(bytes, 48),
                     .id = {.attempt = get<std::uint64_t>(bytes, 56),
                            .step = get<std::uint64_t>(bytes, 64),
                            .rank = get<std::uint32_t>(bytes, 72),
                            .world_size = get<std::uint32_t>(bytes, 76)}};
  if (header.total != total)
    return damaged("has " + std::to_string(total) + " bytes, its header says " +
                   std::to_string(header.total));
  const bool good =
      header.body % kAlignment == 0 && header.body >= kHeaderBytes && header.body < total &&
      total - header.body == round_up(header.blocks() * sizeof(std::uint64_t), kAlignment) &&
      inside(header.skeleton_at, header.skeleton_bytes, header.body) &&
      inside(header.index_at, header.index_bytes, header.body) &&
      header.index_bytes <= kTextBytesMax && header.id.rank < header.id.world_size;
  if (!good) return damaged("its header does not hold together");
  return header;
}

Result<std::string> seal(std::span<std::byte> image, unsigned threads) {
  if (image.size() < kHeaderBytes) return Error{Errc::kDamaged, "the image is too short"};
  HF_TRY(const ShardHeader header,
         read_header(image.first(kHeaderBytes), image.size(), "the image"));
  const auto table = image.subspan(header.body);
  constexpr std::uint64_t kWorthAThread = 8;  // blocks
  threads =
      static_cast<unsigned>(std::min<std::uint64_t>(threads, 1 + header.blocks() / kWorthAThread));
  HF_TRY_VOID(
      for_each_parallel(header.blocks(), threads, [&](std::size_t block, unsigned) -> Result<void> {
        const std::uint64_t from = block * kBlockBytes;
        const auto bytes = image.subspan(from, std::min(kBlockBytes, header.body - from));
        put(table, block * sizeof(std::uint64_t), block_checksum(bytes));
        return {};
      }));
  return table_checksum(table.first(header.blocks() * sizeof(std::uint64_t)));
}

}  // namespace holdfast::engine
