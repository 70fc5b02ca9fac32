#include "engine/checkpoint/copy_commit.h"

#include <gtest/gtest.h>

#include "engine/checkpoint/crashing_folder_test.h"
#include "engine/checkpoint/image_test.h"
#include "engine/checkpoint/persist.h"
#include "engine/checkpoint/store.h"

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kTensorBytes = 5'000'000;  // two reads

void commit(Folder& folder, std::uint64_t step) {
  for (std::uint32_t rank = 2; rank-- > 0;) {
    TestImage image({1, step, rank, 2}, kTensorBytes);
    const PersistRequest request{.job = "job", .id = {1, step, rank, 2}, .retention = {.last = 5}};
    const auto done = persist(folder, request, image.image(), image.seal(), {});
    ASSERT_TRUE(rank == 1 || done.ok()) << done.error().text();
  }
}

bool verifies(const Folder& folder, const Base& at) {
  const std::string step = step_folder(at.attempt, at.step);
  const auto text = folder.read(step + "/manifest.json", kTextBytesMax);
  if (!text.ok()) return false;
  const auto manifest = read_manifest(*text, "m", "job", at.attempt, at.step);
  if (!manifest.ok()) return false;
  for (const ShardEntry& entry : manifest->shards) {
    const std::string path = step + "/" + shard_name(entry.rank);
    auto file = folder.open(path);
    if (!file.ok()) return false;
    const auto reader =
        ShardReader::open(std::move(*file), path, {at.attempt, at.step, entry.rank, 2}, &entry);
    if (!reader.ok() || !reader->read({}, 1).ok()) return false;
  }
  return true;
}

TEST(CopyCommit, TheCopyIsOneToGoOnFrom) {
  CrashingDisk disk, other;
  CrashingFolder from(disk), to(other);
  commit(from, 10);
  commit(from, 20);
  for (const std::uint64_t step : {20, 10, 20}) {
    const auto done = copy_commit(from, to, "job", {1, step}, 1);
    ASSERT_TRUE(done.ok()) << done.error().text();
    EXPECT_TRUE(verifies(to, {1, step}));
  }
  EXPECT_EQ(*Store(to, "job", 2).chain(), (std::vector<Base>{{1, 20}, {1, 10}}));
  CrashingDisk third;
  CrashingFolder refused(third);
  EXPECT_EQ(copy_commit(from, refused, "another", {1, 10}, 1).error().code, Errc::kWrongState);
}

TEST(CopyCommit, WhatIsDamagedIsNotCopied) {
  for (const std::uint64_t at : {std::uint64_t{100}, std::uint64_t{5000}, kTensorBytes}) {
    CrashingDisk disk, other;
    CrashingFolder from(disk), to(other);
    commit(from, 10);
    disk.find(step_folder(1, 10) + "/" + shard_name(1))->now[at] ^= 1;
    const auto done = copy_commit(from, to, "job", {1, 10}, 1);
    ASSERT_FALSE(done.ok()) << at;
    EXPECT_EQ(done.error().code, Errc::kDamaged);
    EXPECT_TRUE(Store(to, "job", 2).chain()->empty());
  }
}

// Cut off before each operation of the copy, everything unsynced lost: the commit is there and
// verifies, or it is not there and the copy can be made again.
TEST(CopyCommit, APowerCutAnywhereLeavesTheCommitOrNone) {
  for (std::uint64_t cut = 0; cut < 200; ++cut) {
    CrashingDisk disk, other;
    CrashingFolder from(disk), to(other);
    commit(from, 10);
    other.crash_at(other.operations() + cut);
    const bool said_done = copy_commit(from, to, "job", {1, 10}, 1).ok();
    const bool crashed = other.crashed();
    other.restart(CrashingDisk::Loss::kEverythingUnsynced, cut);
    const bool there = !Store(to, "job", 2).chain()->empty();
    EXPECT_TRUE(there || !said_done) << cut;
    EXPECT_TRUE(!there || verifies(to, {1, 10})) << cut;
    EXPECT_TRUE(copy_commit(from, to, "job", {1, 10}, 1).ok()) << cut;
    EXPECT_TRUE(verifies(to, {1, 10})) << cut;
    if (!crashed) return;
  }
  FAIL() << "the copy has more operations than that";
}

}  // namespace
}  // namespace holdfast::engine
