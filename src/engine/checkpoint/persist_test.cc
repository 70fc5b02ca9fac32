#include "engine/checkpoint/persist.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <utility>

#include "engine/checkpoint/crashing_folder_test.h"
#include "engine/checkpoint/image_test.h"

namespace holdfast::engine {
namespace {

constexpr std::uint32_t kRanks = 2;

PersistRequest request(std::uint64_t attempt, std::uint64_t step, std::uint32_t rank) {
  return {.job = "job",
          .id = {attempt, step, rank, kRanks},
          .retention = {.last = 2},
          .created = "2026-11-25T00:00:00Z"};
}

// All ranks commit a step, one after the other; rank 0, which waits for the others, last.
Result<void> commit(Folder& folder, std::uint64_t attempt, std::uint64_t step,
                    std::optional<Base> base = std::nullopt) {
  for (std::uint32_t rank = kRanks; rank-- > 0;) {
    TestImage image({attempt, step, rank, kRanks});
    PersistRequest mine = request(attempt, step, rank);
    mine.base = base;
    const Result<void> done = persist(folder, mine, image.image(), image.seal(), {});
    // Rank 1 gives up waiting at once: its part is written.
    if (rank == 0 || (!done.ok() && done.error().code != Errc::kUnavailable)) {
      if (!done.ok()) return done;
    }
  }
  return {};
}

// The newest commit that verifies, every byte of it as it was written.
Result<Base> newest(Folder& folder) {
  const Store store(folder, "job", 99);
  HF_TRY(const std::vector<Base> commits, store.chain());
  for (const Base& at : commits) {
    const Result<Manifest> manifest = store.manifest(at);
    EXPECT_TRUE(manifest.ok()) << manifest.error().text();
    if (!manifest.ok()) continue;
    for (const ShardEntry& entry : manifest->shards) {
      const std::string path = step_folder(at.attempt, at.step) + "/" + shard_name(entry.rank);
      const TestImage image({at.attempt, at.step, entry.rank, kRanks});
      auto file = folder.open(path);
      EXPECT_TRUE(file.ok()) << "a commit without its shard: " << path;
      if (!file.ok()) return Error{Errc::kDamaged, path};
      const auto reader = ShardReader::open(std::move(*file), path,
                                            {at.attempt, at.step, entry.rank, kRanks}, &entry);
      EXPECT_TRUE(reader.ok()) << reader.error().text();
      std::string tensor(image.layout.index.tensors[0].bytes, '\0');
      EXPECT_TRUE(reader
                      ->read({{image.layout.index.tensors[0].at,
                               std::as_writable_bytes(std::span(tensor))}},
                             2)
                      .ok());
      EXPECT_EQ(tensor, image.tensor(0));
    }
    return at;
  }
  return Base{};
}

using Loss = CrashingDisk::Loss;

// Everything that a job does to its folder, cut off before each operation, with every kind of loss:
// what is left is the commit before, or the one that was being made, and the job goes on from
// there.
TEST(Persist, APowerCutAnywhereLeavesTheOldCommitOrTheNew) {
  std::set<std::uint64_t> outcomes;
  for (std::uint64_t cut = 0; cut < 500; ++cut) {
    bool crashed = false;
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      CrashingDisk disk;
      CrashingFolder folder(disk);
      for (const std::uint64_t step : {5, 10, 20}) ASSERT_TRUE(commit(folder, 1, step).ok());
      disk.crash_at(disk.operations() + cut);
      const bool said_done = commit(folder, 1, 30).ok();
      crashed = disk.crashed();
      const Loss loss = seed == 0   ? Loss::kEverythingUnsynced
                        : seed == 1 ? Loss::kNothing
                                    : Loss::kAtRandom;
      disk.restart(loss, seed);
      const Result<Base> found = newest(folder);
      ASSERT_TRUE(found.ok()) << cut << " " << seed;
      ASSERT_TRUE(*found == (Base{1, 20}) || *found == (Base{1, 30})) << cut << " " << found->step;
      if (said_done && !crashed) {
        ASSERT_EQ(*found, (Base{1, 30}));
      }
      outcomes.insert(found->step);
      // The next attempt takes it as its base and goes on.
      ASSERT_TRUE(commit(folder, 2, 40).ok());
      const Store store(folder, "job", 2);
      ASSERT_EQ(store.chain().value(), (std::vector<Base>{{2, 40}, *found})) << cut << " " << seed;
      ASSERT_EQ(newest(folder).value(), (Base{2, 40}));
      ASSERT_FALSE(commit(folder, 1, 50).ok()) << "fenced";
    }
    if (!crashed) {
      EXPECT_GT(cut, 25u);
      EXPECT_EQ(outcomes, (std::set<std::uint64_t>{20, 30}));
      return;
    }
  }
  FAIL() << "it never ended";
}

TEST(Persist, APowerCutAtTheStartOfAnAttemptLosesNothing) {
  for (std::uint64_t cut = 0; cut < 100; ++cut) {
    bool crashed = false;
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      CrashingDisk disk;
      CrashingFolder folder(disk);
      ASSERT_TRUE(commit(folder, 1, 10).ok());
      disk.crash_at(disk.operations() + cut);
      static_cast<void>(Store(folder, "job", 2).begin());
      crashed = disk.crashed();
      disk.restart(seed == 0   ? Loss::kEverythingUnsynced
                   : seed == 1 ? Loss::kNothing
                               : Loss::kAtRandom,
                   seed);
      ASSERT_TRUE(Store(folder, "job", 3).begin().ok());
      ASSERT_EQ(newest(folder).value(), (Base{1, 10})) << cut << " " << seed;
    }
    if (!crashed) {
      EXPECT_GT(cut, 4u);
      return;
    }
  }
  FAIL() << "it never ended";
}

// One operation fails, as on a full or broken disk, and the program lives on.
TEST(Persist, AnErrorAnywhereLeavesTheLastCommitAndTheNextSaveWorks) {
  for (std::uint64_t at = 0; at < 500; ++at) {
    CrashingDisk disk;
    CrashingFolder folder(disk);
    for (const std::uint64_t step : {10, 20}) ASSERT_TRUE(commit(folder, 1, step).ok());
    const std::uint64_t before = disk.operations();
    disk.fail_at(before + at, Errc::kDiskFull);
    const Result<void> done = commit(folder, 1, 30);
    const bool reached = disk.operations() > before + at;
    disk.fail_at(UINT64_MAX, Errc::kIo);
    const Base found = newest(folder).value();
    // An error may come after the commit: of what syncs its name.
    ASSERT_TRUE(found.step == 30 || (!done.ok() && found.step == 20)) << at;
    const auto again = commit(folder, 1, 40);
    ASSERT_TRUE(again.ok()) << at << " " << again.error().text();
    ASSERT_EQ(newest(folder).value().step, 40u);
    if (!reached) return;
  }
  FAIL() << "it never ended";
}

TEST(Persist, OneRankWithoutRoomMakesAllGiveUpWithItsReason) {
  CrashingDisk disk;
  CrashingFolder folder(disk);
  ASSERT_TRUE(commit(folder, 1, 10).ok());
  TestImage one({1, 20, 1, kRanks});
  disk.fail_at(disk.operations() + 4, Errc::kDiskFull);
  const auto failed = persist(folder, request(1, 20, 1), one.image(), one.seal(), {});
  ASSERT_EQ(failed.error().code, Errc::kDiskFull) << failed.error().text();
  TestImage zero({1, 20, 0, kRanks});
  const auto also = persist(folder, request(1, 20, 0), zero.image(), zero.seal(), {});
  EXPECT_EQ(also.error().code, Errc::kDiskFull);
  EXPECT_THAT(also.error().detail, testing::HasSubstr("rank 1"));
  // A third rank, late, is told by rank 0's entry and leaves nothing large behind.
  TestImage late({1, 20, 1, kRanks});
  EXPECT_EQ(persist(folder, request(1, 20, 1), late.image(), late.seal(), {}).error().code,
            Errc::kDiskFull);
  EXPECT_FALSE(folder.exists("attempt-0001/step-00000020/rank-0001.shard"));
  EXPECT_FALSE(folder.exists("attempt-0001/step-00000020/rank-0000.shard"));
  ASSERT_TRUE(commit(folder, 1, 30).ok());
  EXPECT_FALSE(folder.exists("attempt-0001/step-00000020")) << "collected";
}

TEST(Persist, ACommittedStepIsNotWrittenAgain) {
  CrashingDisk disk;
  CrashingFolder folder(disk);
  ASSERT_TRUE(commit(folder, 1, 10).ok());
  const std::uint64_t before = disk.operations();
  ASSERT_TRUE(commit(folder, 1, 10).ok());
  EXPECT_EQ(disk.operations(), before);
}

TEST(Persist, AnAttemptThatIsSupersededWhileItWaitsIsFenced) {
  CrashingDisk disk;
  CrashingFolder folder(disk);
  ASSERT_TRUE(commit(folder, 1, 10).ok());
  TestImage zero({1, 20, 0, kRanks});
  PersistHooks hooks;
  hooks.wait = [&] { return Store(folder, "job", 2).begin().ok(); };
  const auto done = persist(folder, request(1, 20, 0), zero.image(), zero.seal(), hooks);
  EXPECT_EQ(done.error().code, Errc::kStaleAttempt);
  EXPECT_EQ(newest(folder).value(), (Base{1, 10}));
}

// A run that ended with the machine may have left its entry half written, under the same attempt.
TEST(Persist, ATornEntryOfAnEarlierRunIsNoEntry) {
  CrashingDisk disk;
  CrashingFolder folder(disk);
  ASSERT_TRUE(commit(folder, 1, 10).ok());
  ASSERT_TRUE(folder.make_folder("attempt-0001/step-00000020").ok());
  for (const std::string torn : {"", "{\"save\": \"of-the-one-bef", "[]", "{\"save\": 7}"}) {
    ASSERT_TRUE(folder.write("attempt-0001/step-00000020/rank-0001.json", torn).ok());
    TestImage zero({1, 20, 0, kRanks});
    PersistHooks hooks;
    bool waited = false;
    hooks.wait = [&] { return std::exchange(waited, true) == false; };
    PersistRequest mine = request(1, 20, 0);
    mine.save = "of this run";
    const auto done = persist(folder, mine, zero.image(), zero.seal(), hooks);
    EXPECT_TRUE(waited);
    EXPECT_EQ(done.error().code, Errc::kUnavailable) << done.error().text();
  }
  ASSERT_TRUE(commit(folder, 1, 20).ok());
  EXPECT_EQ(newest(folder).value(), (Base{1, 20}));
}

// A folder that says how many writes have begun.
class CountingFolder final : public Folder {
 public:
  explicit CountingFolder(Folder& inner) : inner_(inner) {}
  void await_writes(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(60), [&] { return writes_ >= count; });
    EXPECT_GE(writes_, count);
  }
  [[nodiscard]] int writes() const { return writes_; }

  Result<std::unique_ptr<FileWriter>> create(const std::string& path,
                                             std::uint64_t bytes) override {
    HF_TRY(auto inner, inner_.create(path, bytes));
    return std::unique_ptr<FileWriter>(std::make_unique<Writer>(*this, std::move(inner)));
  }
  Result<void> write(const std::string& path, std::string_view bytes) override {
    return inner_.write(path, bytes);
  }
  Result<std::unique_ptr<FileReader>> open(const std::string& path) const override {
    return inner_.open(path);
  }
  Result<std::string> read(const std::string& path, std::uint64_t most) const override {
    return inner_.read(path, most);
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    return inner_.rename(from, to);
  }
  Result<void> link(const std::string& from, const std::string& to) override {
    return inner_.link(from, to);
  }
  Result<void> remove(const std::string& path) override { return inner_.remove(path); }
  Result<void> make_folder(const std::string& path) override { return inner_.make_folder(path); }
  Result<void> remove_folder(const std::string& path) override {
    return inner_.remove_folder(path);
  }
  Result<void> sync(const std::string& folder) override { return inner_.sync(folder); }
  Result<std::vector<std::string>> list(const std::string& folder) const override {
    return inner_.list(folder);
  }
  bool exists(const std::string& path) const override { return inner_.exists(path); }
  std::string name(const std::string& path) const override { return inner_.name(path); }

 private:
  struct Writer final : FileWriter {
    Writer(CountingFolder& f, std::unique_ptr<FileWriter> i) : folder(f), inner(std::move(i)) {}
    Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      const std::lock_guard lock(folder.mutex_);
      ++folder.writes_;
      folder.changed_.notify_all();
      return inner->write_at(offset, bytes);
    }
    Result<void> sync() override { return inner->sync(); }
    CountingFolder& folder;
    std::unique_ptr<FileWriter> inner;
  };

  Folder& inner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int writes_ = 0;
};

TEST(Persist, TheDiskWritesWhileTheImageIsSealed) {
  CrashingDisk disk;
  CrashingFolder folder(disk);
  for (const unsigned threads : {1u, 3u}) {
    CountingFolder counting(folder);
    const ShardId id{1, threads, 0, 1};
    TestImage image(id, 9 << 20);
    const std::string sealed = image.bytes, checksum = image.checksum;
    const std::uint64_t body = image.layout.header.body;
    std::fill(image.bytes.begin() + static_cast<std::ptrdiff_t>(body), image.bytes.end(), 'x');
    const Seal seal_late = [&]() -> Result<std::string> {
      counting.await_writes(2);  // of three: the last one has the table
      image.bytes = sealed;
      return checksum;
    };
    PersistRequest one = request(1, threads, 0);
    one.id = id;
    one.threads = threads;
    ASSERT_TRUE(persist(counting, one, image.image(), seal_late, {}).ok());
    EXPECT_EQ(counting.writes(), 3);
    const auto manifest = Store(folder, "job", 1).manifest({1, threads});
    ASSERT_TRUE(manifest.ok());
    auto file = folder.open(step_folder(1, threads) + "/" + shard_name(0));
    const auto reader = ShardReader::open(std::move(*file), "s", id, &manifest->shards[0]);
    ASSERT_TRUE(reader.ok()) << reader.error().text();
    EXPECT_TRUE(reader->read({}, 1).ok());
  }
}

TEST(Persist, AnImageThatCannotBeSealedIsNotCommitted) {
  CrashingDisk disk;
  CrashingFolder folder(disk);
  ASSERT_TRUE(commit(folder, 1, 10).ok());
  TestImage zero({1, 20, 0, kRanks});
  const Seal fails = []() -> Result<std::string> { return Error{Errc::kNotFound, "dropped"}; };
  const auto done = persist(folder, request(1, 20, 0), zero.image(), fails, {});
  EXPECT_EQ(done.error().code, Errc::kNotFound);
  EXPECT_FALSE(folder.exists("attempt-0001/step-00000020/rank-0000.shard"));
  EXPECT_EQ(newest(folder).value(), (Base{1, 10}));
}

TEST(Persist, EachSideSaysWhenThereIsNewsForTheOther) {
  CrashingDisk disk;
  CrashingFolder folder(disk);
  const std::string step = "attempt-0001/step-00000010/";
  int entries = 0, commits = 0;
  for (const std::uint32_t rank : {1u, 0u}) {
    TestImage image({1, 10, rank, kRanks});
    PersistHooks hooks;
    hooks.told = [&] {
      entries += folder.exists(step + entry_name(rank));
      commits += folder.exists(step + "manifest.json");
    };
    static_cast<void>(persist(folder, request(1, 10, rank), image.image(), image.seal(), hooks));
  }
  EXPECT_EQ(entries, 3);
  EXPECT_EQ(commits, 1);
}

}  // namespace
}  // namespace holdfast::engine
