#include <cstring>
#include <string>
#include <vector>

#include "engine/checkpoint/shard.h"
#include "engine/checkpoint/shard_reader.h"

// The bytes are a shard; those past the header's checksum are made to fit, or nothing would get
// past it.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
  using namespace holdfast::engine;
  auto shard = std::make_shared<std::vector<std::byte>>(size);
  if (size != 0) std::memcpy(shard->data(), bytes, size);
  const std::span<std::byte> image(*shard);
  if (size >= kHeaderBytes) {
    const std::uint64_t checksum = block_checksum(image.first(4088));
    std::memcpy(image.data() + 4088, &checksum, sizeof checksum);
    static_cast<void>(seal(image, 1));
  }
  const auto reader = ShardReader::open(memory_reader(image, shard), "s", {1, 2, 0, 1}, nullptr);
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
