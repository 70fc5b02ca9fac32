#include "engine/checkpoint/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/checkpoint/crashing_folder_test.h"

namespace holdfast::engine {
namespace {

class StoreTest : public testing::Test {
 protected:
  Store store(std::uint64_t attempt, std::uint64_t keep = 3) {
    return Store(folder_, "job", attempt, {.last = keep});
  }
  // What the engine does for a world of one, without the shard.
  Result<void> commit(Store& store, std::uint64_t attempt, std::uint64_t step) {
    HF_TRY_VOID(store.begin());
    HF_TRY_VOID(store.prepare(step));
    return publish(store, attempt, step);
  }
  static Result<void> publish(Store& store, std::uint64_t attempt, std::uint64_t step) {
    HF_TRY_VOID(store.commit(
        {.job = "job",
         .attempt = attempt,
         .step = step,
         .created = "now",
         .shards = {{.bytes = 8192, .checksum = "xxh3-128:00000000000000000000000000000000"}}}));
    return store.collect(step);
  }
  // As an attempt that looked at the fence just before its successor began.
  void commit_late(std::uint64_t attempt, std::uint64_t step, std::uint64_t keep = 3) {
    const std::string folder = step_folder(attempt, step);
    Store old = store(attempt, keep);
    ASSERT_TRUE(old.prepare(step).ok());
    ASSERT_TRUE(folder_.write(folder + "/manifest.json", "{}").ok());
  }
  std::vector<Base> chain(std::uint64_t attempt) { return store(attempt).chain().value(); }
  using Chain = std::vector<Base>;

  CrashingDisk disk_;
  CrashingFolder folder_{disk_};
};

TEST_F(StoreTest, ASupersededAttemptCannotBeginOrCommit) {
  Store old = store(1), next = store(2);
  ASSERT_TRUE(commit(old, 1, 10).ok());
  ASSERT_TRUE(next.begin().ok());
  EXPECT_EQ(old.begin().error().code, Errc::kStaleAttempt);
  EXPECT_EQ(publish(old, 1, 20).error().code, Errc::kStaleAttempt);
  EXPECT_THAT(old.check_fence().error().detail,
              testing::HasSubstr("attempt 2 of this job has begun and this is attempt 1"));
}

TEST_F(StoreTest, ACommitAfterTheSuccessorTookItsBaseIsOnNoChain) {
  Store old = store(1), next = store(2);
  ASSERT_TRUE(commit(old, 1, 10).ok());
  ASSERT_TRUE(commit(old, 1, 20).ok());
  ASSERT_TRUE(next.begin().ok());
  commit_late(1, 30);
  EXPECT_EQ(chain(2), (Chain{{1, 20}, {1, 10}}));
  ASSERT_TRUE(commit(next, 2, 21).ok());
  Store third = store(3);
  ASSERT_TRUE(third.begin().ok());
  EXPECT_EQ(chain(3), (Chain{{2, 21}, {1, 20}, {1, 10}}));
  EXPECT_FALSE(folder_.exists(step_folder(1, 30))) << "removed in time";
}

TEST_F(StoreTest, TheBaseSurvivesALateCommitOfAnAttemptThatKeepsFew) {
  Store old = store(1, 1), next = store(2);
  ASSERT_TRUE(commit(old, 1, 10).ok());
  ASSERT_TRUE(next.begin().ok());
  commit_late(1, 20, 1);
  static_cast<void>(old.collect(20));
  EXPECT_EQ(chain(2), (Chain{{1, 10}}));
}

TEST_F(StoreTest, LineageIsWrittenOnce) {
  Store old = store(1);
  ASSERT_TRUE(commit(old, 1, 10).ok());
  ASSERT_TRUE(store(2).begin().ok());
  commit_late(1, 20);
  ASSERT_TRUE(store(2).begin().ok());
  EXPECT_EQ(read_lineage(folder_.read("attempt-0002/lineage.json", 100).value(), "l", 2).value(),
            (Base{1, 10}));
  EXPECT_THAT(folder_.list("attempt-0002").value(), testing::ElementsAre("lineage.json"));
}

TEST_F(StoreTest, ABaseThatCouldNotBeWrittenStaysTheBase) {
  Store old = store(1);
  ASSERT_TRUE(commit(old, 1, 10).ok());
  Store next = store(2);
  disk_.fail_at(disk_.operations() + 2, Errc::kDiskFull);
  ASSERT_EQ(next.begin().error().code, Errc::kDiskFull);
  commit_late(1, 20);  // of an attempt that was given up, after its successor began
  ASSERT_TRUE(next.begin().ok());
  EXPECT_EQ(chain(2), (Chain{{1, 10}}));
  // Another process that goes on for it is told.
  Store other = store(3);
  other.take(Base{1, 10});
  ASSERT_TRUE(other.begin().ok());
  EXPECT_EQ(chain(3), (Chain{{1, 10}}));
}

TEST_F(StoreTest, AFolderThatWasRemovedIsBegunAgain) {
  Store now = store(2);
  ASSERT_TRUE(commit(now, 2, 10).ok());
  for (const std::string name : {"step-00000010/manifest.json", "step-00000010", "lineage.json"}) {
    static_cast<void>(folder_.remove("attempt-0002/" + name));
    static_cast<void>(folder_.remove_folder("attempt-0002/" + name));
  }
  ASSERT_TRUE(commit(now, 2, 20).ok());
  EXPECT_EQ(chain(3), (Chain{{2, 20}}));
}

TEST_F(StoreTest, OnlyWhatIsNeededStays) {
  for (std::uint64_t attempt = 1; attempt <= 3; ++attempt) {
    Store one = store(attempt);
    for (std::uint64_t step = 1; step <= 2; ++step)
      ASSERT_TRUE(commit(one, attempt, attempt * 10 + step).ok());
  }
  EXPECT_EQ(chain(3), (Chain{{3, 32}, {3, 31}, {2, 22}}));
  EXPECT_THAT(folder_.list("").value(), testing::ElementsAre("attempt-0002", "attempt-0003"));
  Store dies = store(4);
  ASSERT_TRUE(dies.begin().ok());
  ASSERT_TRUE(dies.prepare(40).ok());
  Store fifth = store(5);
  ASSERT_TRUE(commit(fifth, 5, 51).ok());
  EXPECT_EQ(chain(5), (Chain{{5, 51}, {3, 32}, {3, 31}}));
  EXPECT_FALSE(folder_.exists("attempt-0004"));
}

// Another rank's side may be writing the next step already.
TEST_F(StoreTest, WhatIsBeingWrittenIsLeftAlone) {
  Store one = store(1);
  ASSERT_TRUE(one.begin().ok());
  for (const std::uint64_t step : {5, 10, 20}) ASSERT_TRUE(one.prepare(step).ok());
  ASSERT_TRUE(publish(one, 1, 10).ok());
  EXPECT_FALSE(folder_.exists(step_folder(1, 5))) << "left uncommitted";
  EXPECT_TRUE(folder_.exists(step_folder(1, 20)));
}

TEST_F(StoreTest, ADamagedLineageIsForAPerson) {
  Store one = store(1);
  ASSERT_TRUE(commit(one, 1, 10).ok());
  ASSERT_TRUE(store(2).begin().ok());
  ASSERT_TRUE(folder_.write("attempt-0002/lineage.json", "{\"base\": 7}").ok());
  EXPECT_EQ(store(2).chain().error().code, Errc::kWrongState);
}

TEST_F(StoreTest, OneOfEachSpanStaysAcrossAttempts) {
  const Retention retention{.last = 2, .every_steps = 100};
  for (const std::uint64_t attempt : {1, 2, 3}) {
    Store mine(folder_, "job", attempt, retention);
    for (std::uint64_t step = 20; step <= 120; step += 20)
      ASSERT_TRUE(commit(mine, attempt, (attempt - 1) * 120 + step).ok());
  }
  // What was the first of its span when it was committed still is.
  EXPECT_EQ(chain(3), (Chain{{3, 360}, {3, 340}, {3, 300}, {2, 200}, {1, 100}, {1, 20}}));
}

TEST_F(StoreTest, AnAttemptOfWhichNothingIsKeptLeadsToOlderOnes) {
  const Retention retention{.last = 2, .every_steps = 1000};
  Store first(folder_, "job", 1, retention), second(folder_, "job", 2, retention),
      third(folder_, "job", 3, retention);
  for (const std::uint64_t step : {10, 20, 30}) ASSERT_TRUE(commit(first, 1, step).ok());
  for (const std::uint64_t step : {40, 50}) ASSERT_TRUE(commit(second, 2, step).ok());
  for (const std::uint64_t step : {60, 70, 80}) ASSERT_TRUE(commit(third, 3, step).ok());
  EXPECT_EQ(chain(3), (Chain{{3, 80}, {3, 70}, {1, 10}}));
}

TEST_F(StoreTest, OverBudgetTheOldestGo) {
  Store mine(folder_, "job", 1, {.last = 10, .bytes_max = 3 * 8192});
  for (std::uint64_t step = 10; step <= 60; step += 10) ASSERT_TRUE(commit(mine, 1, step).ok());
  EXPECT_EQ(chain(1), (Chain{{1, 60}, {1, 50}, {1, 40}}));
}

}  // namespace
}  // namespace holdfast::engine
