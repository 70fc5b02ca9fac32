#include "io/file_pack.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

class FilePack : public ScratchFolder {};

TEST_F(FilePack, AFolderComesOutAsItWentIn) {
  ASSERT_TRUE(make_folder(path("in/tools"), 0755).ok());
  ASSERT_TRUE(write_file_atomic(path("in/on_create.sh"), "#!/bin/sh\n", 0755).ok());
  ASSERT_TRUE(write_file_atomic(path("in/tools/data"), std::string("\0\xff", 2), 0640).ok());
  const auto files = read_folder(path("in"));
  ASSERT_TRUE(files.ok()) << files.error().text();
  const auto pack = pack_files(*files);
  ASSERT_TRUE(pack.ok());
  const auto back = unpack_files(*pack);
  ASSERT_TRUE(back.ok());
  ASSERT_TRUE(write_file_atomic(path("stale"), "", 0600).ok());
  ASSERT_TRUE(write_folder(path("out"), *back).ok());
  ASSERT_TRUE(write_folder(path("out"), *back).ok()) << "again, over what is there";
  EXPECT_EQ(*read_file(path("out/tools/data"), 10), std::string("\0\xff", 2));
  EXPECT_EQ(::access(path("out/on_create.sh").c_str(), X_OK), 0);
}

TEST_F(FilePack, WhatIsNoPlainFileIsRefused) {
  ASSERT_TRUE(make_folder(path("in"), 0755).ok());
  ASSERT_EQ(::symlink("/etc/passwd", path("in/link").c_str()), 0);
  EXPECT_THAT(read_folder(path("in")).error().text(), HasSubstr("link: not a regular file"));
  EXPECT_FALSE(read_folder(path("nothing")).ok());
}

TEST_F(FilePack, NoPathLeadsOut) {
  for (const char* bad : {"", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "./a"})
    EXPECT_FALSE(pack_files({{bad, 0644, "x"}}).ok()) << bad;
  EXPECT_TRUE(pack_files({{"a/b..c", 0644, "x"}}).ok());
}

TEST_F(FilePack, WhatIsTooLargeIsRefused) {
  EXPECT_THAT(pack_files({{"a", 0644, std::string(kFilePackMax, 'x')}}).error().text(),
              HasSubstr("16 MiB"));
  EXPECT_FALSE(pack_files(std::vector<PackedFile>(kPackedFilesMax + 1, {"a", 0644, ""})).ok());
}

TEST_F(FilePack, WhatIsNoPackIsRefused) {
  EXPECT_FALSE(unpack_files("\xff\xff\xff").ok());
  EXPECT_TRUE(unpack_files("").ok()) << "no files at all";
}

}  // namespace
}  // namespace holdfast
