#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "engine/checkpoint/shard.h"
#include "engine/checkpoint/shard_reader.h"

namespace {

using namespace holdfast::engine;

constexpr ShardId kId{1, 2, 0, 1};
constexpr std::size_t kFieldsAt = 8, kFieldsBytes = 72;  // of the header, as in shard.cc
constexpr std::uint64_t kTensorBytes = 256;

template <class T>
void put(std::vector<std::byte>& image, std::size_t at, T value) {
  std::memcpy(image.data() + at, &value, sizeof value);
}

// A whole shard whose index is `text`, behind a few bytes for tensors to lie in.
std::vector<std::byte> shard_of(std::string_view text) {
  std::vector<std::byte> bytes(kTensorBytes + text.size());
  std::ranges::copy(std::as_bytes(std::span(text)), bytes.begin() + kTensorBytes);
  const ShardLayout layout = lay_out(kId, {}, bytes.size());
  std::vector<std::byte> image(layout.header.total);
  write_frame(layout, bytes, image);
  put(image, 32, kTensorBytes);
  put(image, 40, layout.header.skeleton_at + kTensorBytes);
  put(image, 48, std::uint64_t{text.size()});
  return image;
}

}  // namespace

// The input is a shard's index; where its first byte is odd, the fields of the header stand before
// it. The checksums are made to fit, or nothing would get past them.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
  if (size == 0) return 0;
  const bool has_fields = bytes[0] % 2 == 1 && size > kFieldsBytes;
  const std::size_t text_at = has_fields ? 1 + kFieldsBytes : 1;
  auto shard = std::make_shared<std::vector<std::byte>>(
      shard_of({reinterpret_cast<const char*>(bytes) + text_at, size - text_at}));
  const std::span<std::byte> image(*shard);
  if (has_fields) std::memcpy(image.data() + kFieldsAt, bytes + 1, kFieldsBytes);
  put(*shard, 4088, block_checksum(image.first(4088)));
  static_cast<void>(seal(image, 1));
  const auto reader = ShardReader::open(memory_reader(image, shard), "s", kId, nullptr);
  if (!reader.ok()) return 0;
  std::vector<std::vector<std::byte>> tensors;
  std::vector<ShardReader::Destination> wanted;
  for (const TensorPiece& piece : reader->index().tensors) {
    tensors.emplace_back(piece.bytes);
    wanted.push_back({piece.at, tensors.back()});
  }
  static_cast<void>(reader->read(std::move(wanted), 1));
  return 0;
}
