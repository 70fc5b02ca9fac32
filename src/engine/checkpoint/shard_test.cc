#include "engine/checkpoint/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "engine/checkpoint/image_test.h"

namespace holdfast::engine {
namespace {

constexpr ShardId kId{3, 120, 1, 4};

Result<ShardReader> open(const std::string& bytes, const ShardId& id = kId,
                         const ShardEntry* entry = nullptr) {
  auto copy = std::make_shared<std::string>(bytes);
  return ShardReader::open(memory_reader(std::as_bytes(std::span(*copy)), copy), "shard", id,
                           entry);
}

Result<void> read_all(const ShardReader& reader, std::string* tensor = nullptr) {
  if (tensor == nullptr) return reader.read({}, 2);
  const TensorPiece& piece = reader.index().tensors[0];
  tensor->assign(piece.bytes, '\0');
  return reader.read({{piece.at, std::as_writable_bytes(std::span(*tensor))}}, 3);
}

TEST(Shard, WhatGoesInComesOut) {
  for (const std::uint64_t bytes : {0ul, 1ul, 6000ul, 3ul << 20, (9ul << 20) + 77}) {
    const TestImage image(kId, bytes);
    EXPECT_EQ(image.bytes.size() % kAlignment, 0u);
    const auto reader = open(image.bytes);
    ASSERT_TRUE(reader.ok()) << reader.error().text();
    EXPECT_EQ(reader->skeleton(), "skeleton of 120");
    EXPECT_EQ(reader->index().tensors, image.layout.index.tensors);
    EXPECT_EQ(reader->checksum(), image.checksum);
    std::string tensor;
    ASSERT_TRUE(read_all(*reader, &tensor).ok());
    EXPECT_EQ(tensor, image.tensor(0));
    EXPECT_EQ(reader->index().tensors[0].at % 64, 0u);
  }
}

// Each read is a request: what is wanted in one, what is not wanted in none.
class StoreReader final : public FileReader {
 public:
  StoreReader(std::string bytes, std::atomic<int>& reads)
      : bytes_(std::move(bytes)), reads_(reads) {}
  [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
  [[nodiscard]] std::uint64_t read_bytes() const override { return 3 * kBlockBytes; }
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    EXPECT_LE(to.size(), bytes_.size() - offset);
    std::memcpy(to.data(), bytes_.data() + offset, to.size());
    ++reads_;
    return {};
  }

 private:
  const std::string bytes_;
  std::atomic<int>& reads_;
};

TEST(Shard, AStoreIsAskedForManyBlocksAtOnce) {
  TestImage image(kId, (10 << 20) + 77);
  std::atomic<int> reads = 0;
  const auto reader_of = [&](std::string bytes) {
    return ShardReader::open(std::make_unique<StoreReader>(std::move(bytes), reads), "far", kId,
                             nullptr);
  };
  const auto reader = reader_of(image.bytes);
  ASSERT_TRUE(reader.ok());
  reads = 0;
  std::string tensor;
  ASSERT_TRUE(read_all(*reader, &tensor).ok());
  EXPECT_EQ(tensor, image.tensor(0));
  EXPECT_EQ(reads, 4) << "11 blocks";
  reads = 0;
  const std::uint64_t at = image.layout.index.tensors[0].at;
  std::string first(10, '\0'), later(kBlockBytes, '\0');
  ASSERT_TRUE(reader
                  ->read({{at, std::as_writable_bytes(std::span(first))},
                          {at + 7 * kBlockBytes, std::as_writable_bytes(std::span(later))}},
                         2)
                  .ok());
  EXPECT_EQ(reads, 2);
  EXPECT_EQ(first, tensor.substr(0, first.size()));
  EXPECT_EQ(later, tensor.substr(7 * kBlockBytes, later.size()));

  std::string damaged = image.bytes;
  damaged[5 * kBlockBytes] ^= 1;
  const auto other = reader_of(damaged);
  ASSERT_TRUE(other.ok());
  EXPECT_THAT(read_all(*other).error().text(), testing::HasSubstr("block 5 of 11"));
}

TEST(Shard, AnyFlippedBitIsFound) {
  const TestImage image(kId, 2 << 20);
  Prng prng(7);
  for (int i = 0; i < 400; ++i) {
    std::string bytes = image.bytes;
    // The header and the tail more often than chance would have it.
    const std::uint64_t at = i % 4 == 0   ? prng.below(4096)
                             : i % 4 == 1 ? bytes.size() - 1 - prng.below(8192)
                                          : prng.below(bytes.size());
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << prng.below(8)));
    const auto reader = open(bytes);
    const bool in_padding = at >= image.layout.header.body + image.layout.header.blocks() * 8;
    if (in_padding) continue;
    const Result<void> read = reader.ok() ? read_all(*reader) : Result<void>(reader.error());
    ASSERT_FALSE(read.ok()) << at;
    EXPECT_TRUE(read.error().code == Errc::kDamaged || at == 7) << at << read.error().text();
  }
}

// Pieces here and there, from memory as from a file: what holds them is verified, and nothing else.
TEST(Shard, WhatIsReadIsVerified) {
  const TestImage image(kId, 9 << 20);
  const std::uint64_t from = image.layout.index.tensors[0].at;
  Prng prng(11);
  for (int i = 0; i < 200; ++i) {
    std::string bytes = image.bytes;
    const std::uint64_t flipped = (3 + prng.below(5)) * kBlockBytes + prng.below(kBlockBytes);
    bytes[flipped] = static_cast<char>(bytes[flipped] ^ 16);
    const auto reader = open(bytes);
    ASSERT_TRUE(reader.ok()) << reader.error().text();
    std::vector<ShardReader::Destination> wanted;
    bool is_hit = false;
    for (std::uint64_t at = from + prng.below(3 << 20); at < (8 << 20);
         at += 200'000 + prng.below(4 << 20)) {
      const std::uint64_t size = 1 + prng.below(200'000), end = at + size - 1;
      wanted.push_back({at, {static_cast<std::byte*>(nullptr), size}});
      is_hit |=
          at / kBlockBytes <= flipped / kBlockBytes && end / kBlockBytes >= flipped / kBlockBytes;
    }
    EXPECT_EQ(reader->read(wanted, 3).ok(), !is_hit);
    std::vector<std::string> pieces;
    for (const auto& one : wanted) pieces.emplace_back(one.to.size(), '\0');
    for (std::size_t j = 0; j < wanted.size(); ++j)
      wanted[j].to = std::as_writable_bytes(std::span(pieces[j]));
    EXPECT_EQ(reader->read(wanted, 3).ok(), !is_hit);
    for (std::size_t j = 0; j < wanted.size() && !is_hit; ++j)
      EXPECT_EQ(pieces[j], image.bytes.substr(wanted[j].at, pieces[j].size()));
  }
}

TEST(Shard, AnyTruncationIsFound) {
  const TestImage image(kId, 70000);
  for (std::size_t size = 0; size < image.bytes.size(); size += 1 + size / 50) {
    const auto reader = open(image.bytes.substr(0, size));
    ASSERT_FALSE(reader.ok());
    EXPECT_EQ(reader.error().code, Errc::kDamaged);
  }
}

TEST(Shard, AnotherShardIsRefused) {
  const TestImage image(kId);
  EXPECT_THAT(open(image.bytes, {3, 121, 1, 4}).error().detail, testing::HasSubstr("of another"));
  ShardEntry entry{.rank = 1, .bytes = image.bytes.size(), .checksum = image.checksum};
  EXPECT_TRUE(open(image.bytes, kId, &entry).ok());
  entry.checksum.back() = entry.checksum.back() == '0' ? '1' : '0';
  EXPECT_THAT(open(image.bytes, kId, &entry).error().detail,
              testing::HasSubstr(", its manifest says " + entry.checksum));
  entry.bytes += 4096;
  EXPECT_THAT(open(image.bytes, kId, &entry).error().detail, testing::HasSubstr("bytes"));
  std::string newer = image.bytes;
  newer[7] = '3';
  EXPECT_EQ(open(newer).error().code, Errc::kWrongState);
}

// A table is only worth its checksum: one that was made to fit the changed bytes is found as well.
TEST(Shard, AResealedShardDiffersFromItsManifest) {
  TestImage image(kId);
  const ShardEntry entry{.rank = 1, .bytes = image.bytes.size(), .checksum = image.checksum};
  image.bytes[5000] = static_cast<char>(image.bytes[5000] ^ 1);
  ASSERT_TRUE(seal(image.image(), 1).ok());
  EXPECT_TRUE(open(image.bytes).ok());
  EXPECT_FALSE(open(image.bytes, kId, &entry).ok());
}

}  // namespace
}  // namespace holdfast::engine
