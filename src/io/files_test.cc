#include "io/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

class Files : public ScratchFolder {};

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

TEST_F(Files, WritesAndReads) {
  const std::string bytes("a\0b\n", 4);
  ASSERT_TRUE(write_file_atomic(path("f"), bytes, 0600).ok());
  EXPECT_EQ(*read_file(path("f"), 4), bytes);
  ASSERT_TRUE(write_file_atomic(path("f"), "", 0600).ok());
  EXPECT_EQ(*read_file(path("f"), 4), "");
}

TEST_F(Files, ReplacesWithTheExactModeAndLeavesNothingBeside) {
  ASSERT_TRUE(write_file_atomic(path("f"), "old", 0644).ok());
  ASSERT_TRUE(append_line(path("f.tmp"), "left by a crash").ok());
  const mode_t before = ::umask(0077);
  ASSERT_TRUE(write_file_atomic(path("f"), "new", 0664).ok());
  ::umask(before);
  EXPECT_EQ(*read_file(path("f"), 10), "new");
  EXPECT_EQ(mode_of(path("f")), 0664u);
  EXPECT_FALSE(std::filesystem::exists(path("f.tmp")));
}

TEST_F(Files, AFailedReplaceKeepsTheOldAndCleansUp) {
  ASSERT_TRUE(make_folder(path("f/inner"), 0700).ok());
  EXPECT_FALSE(write_file_atomic(path("f"), "new", 0600).ok());
  EXPECT_TRUE(std::filesystem::exists(path("f/inner")));
  EXPECT_FALSE(std::filesystem::exists(path("f.tmp")));
}

TEST_F(Files, ErrorsNamePathReasonAndRemedy) {
  const Error missing = read_file(path("none"), 10).error();
  EXPECT_EQ(missing.code, Errc::kNotFound);
  EXPECT_EQ(missing.detail,
            "cannot open " + path("none") + ": No such file or directory; check the path");
  EXPECT_THAT(write_file_atomic(path("none/f"), "x", 0600).error().detail,
              HasSubstr(path("none/f")));
  EXPECT_EQ(read_file(folder(), 10).error().code, Errc::kIo);
}

TEST_F(Files, AFullDiskIsNotJustAnyError) {
  const UniqueFd full = std::move(open_file("/dev/full", O_WRONLY).value());
  EXPECT_EQ(write_all(full, "/dev/full", "x").error().code, Errc::kDiskFull);
}

TEST_F(Files, RefusesAFileOverTheLimit) {
  ASSERT_TRUE(write_file_atomic(path("f"), std::string(100'000, 'x'), 0600).ok());
  EXPECT_THAT(read_file(path("f"), 99'999).error().detail, HasSubstr("99999 bytes"));
  EXPECT_EQ(read_file(path("f"), 100'000)->size(), 100'000u);
  EXPECT_TRUE(read_file("/proc/self/status", 100'000).ok());
}

TEST_F(Files, AppendsLines) {
  ASSERT_TRUE(append_line(path("log"), "one").ok());
  ASSERT_TRUE(append_line(path("log"), "two").ok());
  EXPECT_EQ(*read_file(path("log"), 100), "one\ntwo\n");
}

TEST_F(Files, MakesFoldersWithParents) {
  ASSERT_TRUE(make_folder(path("a/b/c/"), 0700).ok());
  EXPECT_EQ(mode_of(path("a/b")), 0700u);
  ASSERT_TRUE(make_folder(path("a/b"), 0755).ok());
  EXPECT_EQ(mode_of(path("a/b")), 0700u);
  ASSERT_TRUE(append_line(path("file"), "x").ok());
  EXPECT_THAT(make_folder(path("file"), 0700).error().detail, HasSubstr("Not a directory"));
  EXPECT_THAT(make_folder(path("file/x"), 0700).error().detail, HasSubstr("Not a directory"));
  EXPECT_FALSE(make_folder("", 0700).ok());
}

TEST_F(Files, RemovesATreeButNotWhatALinkPointsTo) {
  ASSERT_TRUE(make_folder(path("kept"), 0700).ok());
  ASSERT_TRUE(append_line(path("kept/f"), "x").ok());
  ASSERT_TRUE(make_folder(path("tree/deep"), 0700).ok());
  ASSERT_EQ(::symlink(path("kept").c_str(), path("tree/deep/link").c_str()), 0);
  EXPECT_TRUE(remove_tree(path("tree")).ok());
  EXPECT_TRUE(remove_tree(path("tree")).ok());
  EXPECT_FALSE(std::filesystem::exists(path("tree")));
  EXPECT_TRUE(std::filesystem::exists(path("kept/f")));
}

}  // namespace
}  // namespace holdfast
