#include "io/file_tail.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "io/files.h"
#include "io/random.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

class FileTails : public ScratchFolder {
 protected:
  void append(const std::string& bytes) {
    const auto fd = open_file(path("log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ASSERT_TRUE(write_all(*fd, path("log"), bytes).ok());
  }
  // "offset:bytes"
  static std::string next(FileTail& tail, std::size_t max_bytes = 100) {
    const auto chunk = tail.read_new(max_bytes);
    if (!chunk.ok()) return chunk.error().text();
    return std::to_string(chunk->offset) + ":" + chunk->bytes;
  }
};

TEST_F(FileTails, FollowsFromBeforeItExists) {
  FileTail tail(path("log"));
  EXPECT_EQ(next(tail), "0:");
  append("one");
  EXPECT_EQ(next(tail), "0:one");
  EXPECT_EQ(next(tail), "3:");
  append("two");
  EXPECT_EQ(next(tail), "3:two");
}

TEST_F(FileTails, StartsWhereItIsToldAndReadsInPieces) {
  append("0123456789");
  FileTail tail(path("log"), 4);
  EXPECT_EQ(next(tail, 4), "4:4567");
  EXPECT_EQ(next(tail, 4), "8:89");
}

TEST_F(FileTails, AFileCutShortIsReadAgain) {
  append("0123456789");
  FileTail tail(path("log"));
  EXPECT_EQ(next(tail), "0:0123456789");
  ASSERT_EQ(::truncate(path("log").c_str(), 0), 0);
  append("new");
  EXPECT_EQ(next(tail), "0:new");
}

TEST_F(FileTails, AReplacedFileIsReadToItsEndFirst) {
  append("old");
  FileTail tail(path("log"));
  EXPECT_EQ(next(tail), "0:old");
  append("+more");
  std::filesystem::rename(path("log"), path("log.1"));
  append("a new file");
  EXPECT_EQ(next(tail), "3:+more");
  EXPECT_EQ(next(tail), "0:a new file");
}

TEST_F(FileTails, ARemovedFileHasNothingNew) {
  append("old");
  FileTail tail(path("log"));
  EXPECT_EQ(next(tail), "0:old");
  std::filesystem::remove(path("log"));
  EXPECT_EQ(next(tail), "3:");
  append("new");
  EXPECT_EQ(next(tail), "0:new");
}

TEST_F(FileTails, WhatCannotBeReadIsAnError) {
  FileTail tail(folder());
  EXPECT_FALSE(tail.read_new(10).ok());
}

class KernelLogTails : public FileTails {};

TEST_F(KernelLogTails, GivesCompleteLinesOfAFile) {
  append("before\n");
  KernelLogTail from_end(path("log"), KernelLogTail::Start::kEnd);
  KernelLogTail from_beginning(path("log"), KernelLogTail::Start::kBeginning);
  append("one\ntw");
  EXPECT_THAT(*from_end.read_lines(), ElementsAre("one"));
  EXPECT_THAT(*from_beginning.read_lines(), ElementsAre("before", "one"));
  EXPECT_THAT(*from_end.read_lines(), IsEmpty());
  append("o\n\n\xFF\n");
  EXPECT_THAT(*from_end.read_lines(), ElementsAre("two", "", "\uFFFD"));
}

TEST_F(KernelLogTails, AFileThatAppearsLaterIsReadWhole) {
  KernelLogTail tail(path("log"), KernelLogTail::Start::kEnd);
  EXPECT_THAT(*tail.read_lines(), IsEmpty());
  append("one\n");
  EXPECT_THAT(*tail.read_lines(), ElementsAre("one"));
}

TEST_F(KernelLogTails, CutsLongLines) {
  KernelLogTail tail(path("log"), KernelLogTail::Start::kBeginning);
  append(std::string(3000, 'a'));
  EXPECT_THAT(*tail.read_lines(), IsEmpty());
  append(std::string(3'000'000, 'b') + "\nnext\n");
  std::vector<std::string> lines;
  while (lines.size() < 2) {
    const auto more = tail.read_lines();
    lines.insert(lines.end(), more->begin(), more->end());
  }
  EXPECT_EQ(lines[0], std::string(3000, 'a') + std::string(1096, 'b'));
  EXPECT_EQ(lines[1], "next");
}

TEST_F(KernelLogTails, HalfALineDoesNotSurviveItsFile) {
  KernelLogTail tail(path("log"), KernelLogTail::Start::kBeginning);
  append("half");
  EXPECT_THAT(*tail.read_lines(), IsEmpty());
  std::filesystem::remove(path("log"));
  append("whole\n");
  EXPECT_THAT(*tail.read_lines(), ElementsAre("whole"));
}

TEST_F(KernelLogTails, FollowsTheKernelsOwnLog) {
  const UniqueFd log(::open("/dev/kmsg", O_WRONLY | O_CLOEXEC));
  if (!log || ::access("/dev/kmsg", R_OK) != 0)
    GTEST_SKIP() << "/dev/kmsg may not be read and written here";
  const std::string before = "holdfast test " + random_hex(8),
                    after = "holdfast test " + random_hex(8);
  ASSERT_TRUE(write_all(log, "/dev/kmsg", "<6>" + before + "\n").ok());
  KernelLogTail from_end("/dev/kmsg", KernelLogTail::Start::kEnd);
  KernelLogTail from_beginning("/dev/kmsg", KernelLogTail::Start::kBeginning);
  ASSERT_TRUE(write_all(log, "/dev/kmsg", "<6>" + after + "\n").ok());
  const auto lines = *from_end.read_lines();
  EXPECT_THAT(lines, Contains(after));
  EXPECT_THAT(lines, Not(Contains(before)));
  EXPECT_THAT(*from_end.read_lines(), Not(Contains(after)));
  EXPECT_THAT(*from_beginning.read_lines(), testing::IsSupersetOf({before, after}));
}

}  // namespace
}  // namespace holdfast
