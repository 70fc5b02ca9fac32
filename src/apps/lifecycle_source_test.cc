#include "apps/lifecycle_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/file_pack.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;

class LifecycleSource : public ScratchFolder {
 protected:
  LifecycleSource() { write("scripts/on_create.sh", "#!/bin/sh\n"); }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name)) << text;
  }
  LifecyclePack read() {
    const auto pack = read_lifecycle_source(path("scripts"), {"on_create.sh"});
    EXPECT_TRUE(pack.ok()) << pack.error().text();
    return pack.ok() ? *pack : LifecyclePack{};
  }
};

TEST_F(LifecycleSource, TheSameFilesAreTheSameVersion) {
  const LifecyclePack before = read();
  EXPECT_EQ(before.files.size(), 64U);
  EXPECT_EQ(read().files, before.files);
  write("scripts/tools/more.sh", "x");
  EXPECT_NE(read().files, before.files);
  const auto files = unpack_files(read().bytes);
  ASSERT_TRUE(files.ok());
  EXPECT_EQ(files->size(), 2U);
}

TEST_F(LifecycleSource, AProgramThatIsNotThereIsNamed) {
  const auto pack = read_lifecycle_source(path("scripts"), {"on_create.sh", "init.sh"});
  ASSERT_FALSE(pack.ok());
  EXPECT_EQ(pack.error().code, Errc::kNotFound);
  EXPECT_THAT(pack.error().text(), HasSubstr("'init.sh' is not there"));
}

TEST_F(LifecycleSource, WhatWasPutIsGot) {
  const LifecyclePack pack = read();
  ASSERT_TRUE(put_pack(path("kept"), pack).ok());
  ASSERT_TRUE(put_pack(path("kept"), pack).ok()) << "again";
  const auto got = get_pack(path("kept"), pack.files);
  ASSERT_TRUE(got.ok()) << got.error().text();
  EXPECT_EQ(got->bytes, pack.bytes);
  EXPECT_EQ(get_pack(path("kept"), std::string(64, '0')).error().code, Errc::kNotFound);
}

TEST_F(LifecycleSource, ADamagedPackIsNotGivenAndMendedByTheNext) {
  const LifecyclePack pack = read();
  ASSERT_TRUE(put_pack(path("kept"), pack).ok());
  write("kept/" + pack.files, "torn");
  EXPECT_EQ(get_pack(path("kept"), pack.files).error().code, Errc::kStateCorrupt);
  ASSERT_TRUE(put_pack(path("kept"), pack).ok());
  EXPECT_TRUE(get_pack(path("kept"), pack.files).ok());
}

TEST_F(LifecycleSource, TheOthersAreRemoved) {
  const LifecyclePack old = read();
  ASSERT_TRUE(put_pack(path("kept"), old).ok());
  write("scripts/on_create.sh", "#!/bin/sh\nexit 0\n");
  const LifecyclePack now = read();
  ASSERT_TRUE(put_pack(path("kept"), now).ok());
  keep_packs(path("kept"), {now.files});
  EXPECT_TRUE(get_pack(path("kept"), now.files).ok());
  EXPECT_FALSE(get_pack(path("kept"), old.files).ok());
  keep_packs(path("no such folder"), {});
}

}  // namespace
}  // namespace holdfast
