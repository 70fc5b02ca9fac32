#include "engine/safetensors/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "engine/checkpoint/crashing_folder_test.h"
#include "engine/checkpoint/persist.h"
#include "engine/checkpoint/shard_reader.h"
#include "engine/checkpoint/store.h"

namespace holdfast::engine {
namespace {

using testing::HasSubstr;

// A piece of the int32 tensor whose elements are 0, 1, 2, ... in row-major order.
struct TestPiece {
  TensorPiece piece;
  std::vector<std::int32_t> values;
};

TestPiece piece_of(const std::string& name, std::vector<std::uint64_t> global,
                   std::vector<std::uint64_t> offsets, std::vector<std::uint64_t> shape) {
  TestPiece test;
  const std::uint64_t count =
      std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies());
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t rest = i, place = 0, stride = 1;
    for (std::size_t d = shape.size(); d-- > 0;) {
      place += (offsets[d] + rest % shape[d]) * stride;
      stride *= global[d];
      rest /= shape[d];
    }
    test.values.push_back(static_cast<std::int32_t>(place));
  }
  test.piece = {name, "int32",  std::move(shape), std::move(global), std::move(offsets),
                0,    count * 4};
  return test;
}

void commit(Folder& folder, const std::vector<std::vector<TestPiece>>& ranks) {
  for (std::size_t rank = ranks.size(); rank-- > 0;) {
    const ShardId id{1, 7, static_cast<std::uint32_t>(rank),
                     static_cast<std::uint32_t>(ranks.size())};
    Index index{.job = "job", .tensors = {}};
    for (const TestPiece& test : ranks[rank]) index.tensors.push_back(test.piece);
    const ShardLayout layout = lay_out(id, std::move(index), 0);
    std::string bytes(layout.header.total, '\0');
    const auto image = std::as_writable_bytes(std::span(bytes));
    write_frame(layout, {}, image);
    for (std::size_t i = 0; i < ranks[rank].size(); ++i)
      std::memcpy(image.data() + layout.index.tensors[i].at, ranks[rank][i].values.data(),
                  layout.index.tensors[i].bytes);
    const std::string checksum = seal(image, 1).value();
    (void)persist(folder, {.job = "job", .id = id}, image,
                  [&] { return Result<std::string>(checksum); }, {});
  }
}

Result<std::string> exported(const Folder& folder, Store& store, const std::string& object) {
  HF_TRY(const Manifest manifest, store.manifest({1, 7}));
  HF_TRY(const ExportPlan plan, plan_export(manifest, object));
  std::string file(plan.file_bytes(), '\0');
  HF_TRY_VOID(run_export(folder, manifest, plan, std::as_writable_bytes(std::span(file)), 1));
  return file;
}

std::vector<std::int32_t> values_of(const std::string& file, const SafeTensor& tensor) {
  std::vector<std::int32_t> values((tensor.end - tensor.begin) / 4);
  std::memcpy(values.data(), file.data() + tensor.begin, tensor.end - tensor.begin);
  return values;
}

Result<SafetensorsHeader> header_of(const std::string& file) {
  HF_TRY(const std::uint64_t length, safetensors_header_bytes(file, file.size(), "f"));
  return read_safetensors_header(file.substr(8, length), file.size(), "f");
}

TEST(SafetensorsExport, PiecesOfAllRanksMakeTheTensors) {
  CrashingDisk disk;
  CrashingFolder folder(disk);
  commit(folder, {{piece_of("model.rows", {6, 5}, {0, 0}, {2, 5}),
                   piece_of("model.columns", {4, 6}, {0, 0}, {4, 2}),
                   piece_of("model.whole", {3}, {0}, {3}), piece_of("model.scalar", {}, {}, {}),
                   piece_of("optimizer.x", {2}, {0}, {2}),
                   piece_of("model.middle", {3, 4, 5}, {0, 0, 0}, {3, 1, 5}),
                   piece_of("random.torch", {9}, {0}, {9})},
                  {piece_of("model.rows", {6, 5}, {2, 0}, {4, 5}),
                   piece_of("model.columns", {4, 6}, {0, 2}, {4, 4}),
                   piece_of("model.middle", {3, 4, 5}, {0, 1, 0}, {3, 3, 5}),
                   piece_of("random.torch", {9}, {0}, {9})}});
  Store store(folder, "job", 9);
  const auto file = exported(folder, store, "model");
  ASSERT_TRUE(file.ok()) << file.error().text();
  const auto header = header_of(*file);
  ASSERT_TRUE(header.ok()) << header.error().text();
  ASSERT_EQ(header->tensors.size(), 5u);
  EXPECT_EQ(header->metadata.at("holdfast_step"), "7");
  EXPECT_EQ(header->metadata.at("format"), "pt");
  for (const SafeTensor& tensor : header->tensors) {
    const auto values = values_of(*file, tensor);
    std::vector<std::int32_t> expected(values.size());
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(values, expected) << tensor.name;
  }
  EXPECT_EQ(header_of(*exported(folder, store, ""))->tensors.size(), 6u);
  EXPECT_EQ(exported(folder, store, "nothing").error().code, Errc::kInvalidField);
}

TEST(SafetensorsExport, PiecesThatDoNotMakeTheTensorAreNoticed) {
  const std::pair<std::vector<TestPiece>, const char*> cases[] = {
      {{piece_of("m.a", {6}, {0}, {2})}, "missing"},
      {{piece_of("m.a", {6}, {0}, {4}), piece_of("m.a", {6}, {3}, {3})}, "overlap"},
      {{piece_of("m.a", {6}, {0}, {3}), piece_of("m.a", {3}, {0}, {3})}, "different"}};
  for (const auto& [pieces, why] : cases) {
    Manifest manifest;
    for (const TestPiece& test : pieces)
      manifest.shards.push_back(
          {.rank = static_cast<std::uint32_t>(manifest.shards.size()), .tensors = {test.piece}});
    const auto plan = plan_export(manifest, "m");
    ASSERT_FALSE(plan.ok()) << why;
    EXPECT_EQ(plan.error().code, Errc::kDamaged);
    EXPECT_THAT(plan.error().detail, HasSubstr(why));
  }
}

TEST(SafetensorsExport, WhatIsImportedIsExportedAgain) {
  SafetensorsHeader header{{{.name = "a.weight", .dtype = "BF16", .shape = {3, 5}},
                            {.name = "b", .dtype = "I64", .shape = {2}},
                            {.name = "none", .dtype = "F32", .shape = {0}}},
                           {{"format", "pt"}}};
  std::string file = *lay_out_safetensors(header);
  for (int i = 0; i < 46; ++i) file += static_cast<char>(i);
  const ReadAt read = [&file](std::uint64_t offset, std::span<std::byte> to) {
    std::memcpy(to.data(), file.data() + offset, to.size());
    return Result<void>();
  };
  CrashingDisk disk;
  CrashingFolder folder(disk);
  const auto import = [&] {
    return import_safetensors(read, file.size(), "f", folder, "job", "model", 7, "now", 1);
  };
  ASSERT_TRUE(import().ok());
  EXPECT_EQ(import().error().code, Errc::kNameExists);
  Store store(folder, "job", 9);
  const auto back = exported(folder, store, "model");
  ASSERT_TRUE(back.ok()) << back.error().text();
  const auto found = header_of(*back);
  ASSERT_EQ(found->tensors.size(), 3u);
  for (const SafeTensor& tensor : header.tensors) {
    const auto same = std::ranges::find(found->tensors, tensor.name, &SafeTensor::name);
    ASSERT_NE(same, found->tensors.end());
    EXPECT_EQ(same->shape, tensor.shape);
    EXPECT_EQ(same->dtype, tensor.dtype);
    EXPECT_EQ(back->substr(same->begin, same->end - same->begin),
              file.substr(tensor.begin, tensor.end - tensor.begin));
  }
  file[9] = 'x';
  EXPECT_EQ(import().error().code, Errc::kDamaged);
}

}  // namespace
}  // namespace holdfast::engine
