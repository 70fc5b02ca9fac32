#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "base/prng.h"
#include "engine/checkpoint/shard.h"
#include "engine/checkpoint/shard_reader.h"

namespace holdfast::engine {

// A sealed shard with two tensors whose bytes follow from its id.
struct TestImage {
  std::string bytes;
  std::string checksum;
  ShardLayout layout;

  explicit TestImage(const ShardId& id, std::uint64_t tensor_bytes = 6000) {
    Index index{
        .job = "job",
        .tensors = {{"model.w", "uint8", {tensor_bytes}, {tensor_bytes}, {0}, 0, tensor_bytes},
                    {"model.b", "float32", {3}, {6}, {3}, 0, 12}}};
    const std::string skeleton = "skeleton of " + std::to_string(id.step);
    layout = lay_out(id, std::move(index), skeleton.size());
    bytes.assign(layout.header.total, 'x');
    write_frame(layout, std::as_bytes(std::span(skeleton)), image());
    Prng prng(id.step * 100 + id.rank, id.attempt);
    for (const TensorPiece& piece : layout.index.tensors)
      for (std::uint64_t i = 0; i < piece.bytes; ++i)
        bytes[piece.at + i] = static_cast<char>(prng.next());
    checksum = engine::seal(image(), 1).value();
  }
  std::span<std::byte> image() { return std::as_writable_bytes(std::span(bytes)); }
  // As persist() wants it.
  auto seal() const {
    return [this] { return Result<std::string>(checksum); };
  }
  std::string tensor(std::size_t i) const {
    return bytes.substr(layout.index.tensors[i].at, layout.index.tensors[i].bytes);
  }
};

}  // namespace holdfast::engine
