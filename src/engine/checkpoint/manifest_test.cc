#include "engine/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace holdfast::engine {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Manifest sample() {
  Manifest manifest{.job = "llama", .attempt = 3, .step = 120, .created = "2026-11-25T09:30:00Z"};
  for (std::uint32_t rank = 0; rank < 2; ++rank)
    manifest.shards.push_back(
        {.rank = rank,
         .bytes = 16384,
         .checksum = "xxh3-128:0123456789abcdef0123456789abcdef",
         .tensors = {{"w", "float32", {4, 2}, {8, 2}, {rank * 4, 0}, 4096, 32},
                     {"empty", "int64", {0, 7}, {0, 7}, {0, 0}, 4160, 0},
                     {"scalar", "bfloat16", {}, {}, {}, 4160, 2}}});
  return manifest;
}

Result<Manifest> read(const std::string& text) {
  return read_manifest(text, "manifest.json", "llama", 3, 120);
}

TEST(Manifest, ComesBack) {
  const auto back = read(write_manifest(sample()));
  ASSERT_TRUE(back.ok()) << back.error().text();
  EXPECT_EQ(*back, sample());
}

TEST(Manifest, WhatIsNotForThisReaderIsRefused) {
  const auto changed = [](const char* field, const json& value) {
    json manifest = json::parse(write_manifest(sample()));
    manifest[field] = value;
    return read(manifest.dump());
  };
  const struct {
    const char* field;
    json value;
    Errc code;
    const char* text;
  } cases[] = {{"format", "other", Errc::kWrongState, "another checkpoint folder"},
               {"version", 3, Errc::kWrongState, "reads version 2"},
               {"version", 1, Errc::kWrongState, "reads version 2"},
               {"job", "theirs", Errc::kWrongState, "this job is llama"},
               {"step", 121, Errc::kWrongState, "moved"},
               {"attempt", 2, Errc::kWrongState, "moved"},
               {"attempt", -1, Errc::kDamaged, "attempt is -1"},
               {"step", "120", Errc::kDamaged, "step is \"120\""},
               {"world_size", 3, Errc::kDamaged, "world_size of 3"},
               {"shards", json::array(), Errc::kDamaged, "shards are 0"},
               {"shards", nullptr, Errc::kDamaged, "shards is null"},
               {"more", 1, Errc::kDamaged, "does not know"}};
  for (const auto& c : cases) {
    const auto result = changed(c.field, c.value);
    ASSERT_FALSE(result.ok()) << c.field;
    EXPECT_EQ(result.error().code, c.code) << result.error().text();
    EXPECT_THAT(result.error().detail, HasSubstr("manifest.json"));
    EXPECT_THAT(result.error().detail, HasSubstr(c.text));
  }
  EXPECT_TRUE(read_manifest(write_manifest(sample()), "m", std::nullopt, 3, 120).ok());
}

TEST(Manifest, DamageInAnEntryIsNamed) {
  const auto changed = [](const char* path, const json& value) {
    json manifest = json::parse(write_manifest(sample()));
    manifest[json::json_pointer(path)] = value;
    return read(manifest.dump());
  };
  const struct {
    const char* path;
    json value;
    const char* text;
  } cases[] = {{"/shards/1/rank", 0, "shards[1]: rank is 0"},
               {"/shards/0/name", "../../x", "name is"},
               {"/shards/0/checksum", "md5:1", "checksum is md5:1"},
               {"/shards/0/bytes", 4100, "outside its shard"},
               {"/shards/0/more", 4100, "does not know"},
               {"/shards/0/tensors/0/at", 0, "outside its shard"},
               {"/shards/0/tensors/0/at", INT64_MAX, "outside its shard"},
               {"/shards/0/tensors/2/at", 4120, "lies over"},
               {"/shards/0/tensors/0/dtype", "float7", "does not fit"},
               {"/shards/0/tensors/0/bytes", 31, "does not fit"},
               {"/shards/1/tensors/0/offsets", {5, 0}, "does not fit"},
               {"/shards/0/tensors/0/shape", {INT64_MAX, INT64_MAX}, "does not fit"},
               {"/shards/0/tensors/0/shape", {4}, "does not fit"},
               {"/shards/0/tensors/0/shape", {4, -2}, "shape is -2"},
               {"/shards/0/tensors/0/name", 7, "name is 7"}};
  for (const auto& c : cases) {
    const auto result = changed(c.path, c.value);
    ASSERT_FALSE(result.ok()) << c.path;
    EXPECT_EQ(result.error().code, Errc::kDamaged);
    EXPECT_THAT(result.error().detail, HasSubstr(c.text)) << c.path;
  }
}

TEST(Manifest, CutAnywhereItIsDamaged) {
  const std::string text = write_manifest(sample());
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto result = read(text.substr(0, size));
    ASSERT_FALSE(result.ok()) << size;
    ASSERT_EQ(result.error().code, Errc::kDamaged);
  }
  EXPECT_THAT(read(text.substr(0, 30)).error().detail, HasSubstr("cannot be read"));
}

TEST(Manifest, EntriesAndLineages) {
  const ShardEntry entry = sample().shards[1];
  const auto back = read_entry(write_entry(entry, "s1"), "rank-0001.json", 1);
  ASSERT_TRUE(back.ok()) << back.error().text();
  EXPECT_EQ(back->entry, entry);
  EXPECT_EQ(back->save, "s1");
  EXPECT_FALSE(read_entry(write_entry(entry, "s1"), "rank-0000.json", 0).ok());
  const auto failed = read_entry(write_failure({Errc::kDiskFull, "no room"}, "s1"), "e", 1);
  ASSERT_TRUE(failed.ok());
  EXPECT_EQ(failed->failure.code, Errc::kDiskFull);
  EXPECT_EQ(failed->failure.detail, "rank 1: no room");

  EXPECT_EQ(read_lineage(write_lineage({}), "l", 5).value(), Base{});
  EXPECT_EQ(read_lineage(write_lineage({4, 9}), "l", 5).value(), (Base{4, 9}));
  for (const char* text :
       {"", "{}", "[]", R"({"base": 1})", R"({"base": {"attempt": 5, "step": 1}})",
        R"({"base": {"attempt": 0, "step": 1}})", R"({"base": {"attempt": 1}})"})
    EXPECT_EQ(read_lineage(text, "l", 5).error().code, Errc::kWrongState) << text;
}

TEST(Manifest, PiecesOfAProgram) {
  const auto pieces = read_pieces(R"([{"name": "a", "dtype": "bool", "shape": [3], "bytes": 3}])");
  ASSERT_TRUE(pieces.ok()) << pieces.error().text();
  EXPECT_EQ(pieces->front(), (TensorPiece{"a", "bool", {3}, {3}, {0}, 0, 3}));
  EXPECT_FALSE(read_pieces(R"([{"name": "a", "dtype": "bool", "shape": [3], "bytes": 4}])").ok());
  EXPECT_FALSE(read_pieces("7").ok());
}

TEST(Manifest, Names) {
  EXPECT_EQ(step_folder(3, 120) + "/" + shard_name(7),
            "attempt-0003/step-00000120/rank-0007.shard");
  EXPECT_EQ(step_folder(12345, 1234567890), "attempt-12345/step-1234567890");
}

}  // namespace
}  // namespace holdfast::engine
