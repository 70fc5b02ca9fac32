#include "engine/checkpoint/folder_link.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <thread>

#include "engine/checkpoint/image_test.h"
#include "engine/checkpoint/persist.h"
#include "engine/checkpoint/posix_folder.h"
#include "engine/checkpoint/snapshot_link.h"
#include "engine/checkpoint/store.h"

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kTensorBytes = 5'000'000;

// A far folder that is in truth on this disk, behind a real snapshot server.
class FolderLinkTest : public testing::Test {
 protected:
  FolderLinkTest() {
    std::string pattern = testing::TempDir() + "holdfast_XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
    near_ = posix_folder(folder_ + "/b/p");
    server_ = std::make_unique<SnapshotServer>(
        *SnapshotServer::listen(socket()),
        [this](const std::string& name) -> Result<std::unique_ptr<Folder>> {
          if (name == "s3://gone") return Error{Errc::kStoreUnavailable, "s3://gone"};
          return posix_folder(folder_ + name.substr(4));
        });
    thread_ = std::thread([this] { server_->run(); });
  }
  ~FolderLinkTest() override {
    server_->stop();
    thread_.join();
    server_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  [[nodiscard]] std::string socket() const { return folder_ + "/socket"; }

  std::string folder_;
  std::unique_ptr<Folder> near_;
  std::unique_ptr<SnapshotServer> server_;
  std::thread thread_;
};

TEST_F(FolderLinkTest, ARankBeginsSavesAndRestoresThere) {
  const auto folder = remote_folder(socket(), "s3://b/p");
  ASSERT_TRUE(folder.ok());
  Store store(**folder, "job", 1);
  EXPECT_TRUE(store.chain()->empty());
  const auto begun = store.begin();
  ASSERT_TRUE(begun.ok()) << begun.error().text();
  EXPECT_TRUE(near_->exists("attempt-0001/lineage.json"));

  const ShardId id{1, 10, 0, 1};
  TestImage image(id, kTensorBytes);
  auto snapshots = RemoteSnapshots::connect(socket(), "job", 1);
  ASSERT_TRUE(snapshots.ok());
  const auto room = (*snapshots)->take(0, image.bytes.size());
  ASSERT_TRUE(room.ok());
  std::memcpy(room->region->bytes().data(), image.bytes.data(), image.bytes.size());
  ASSERT_TRUE((*snapshots)->publish(room->number, id, image.bytes.size(), false).ok());
  const auto done =
      (*snapshots)
          ->persist(
              {.folder = "s3://b/p",
               .request = {.job = "job", .id = id, .created = "now", .save = "s", .threads = 2}});
  ASSERT_TRUE(done.ok()) << done.error().text();

  EXPECT_EQ(*store.chain(), (std::vector<Base>{{1, 10}}));
  const auto manifest = store.manifest({1, 10});
  ASSERT_TRUE(manifest.ok()) << manifest.error().text();
  auto file = (*folder)->open("attempt-0001/step-00000010/rank-0000.shard");
  ASSERT_TRUE(file.ok()) << file.error().text();
  const auto reader = ShardReader::open(std::move(*file), "s", id, &manifest->shards[0]);
  ASSERT_TRUE(reader.ok()) << reader.error().text();
  std::string tensor(kTensorBytes, '\0');
  const auto read =
      reader->read({{reader->index().tensors[0].at, std::as_writable_bytes(std::span(tensor))}}, 3);
  ASSERT_TRUE(read.ok()) << read.error().text();
  EXPECT_TRUE(tensor == image.tensor(0));
}

TEST_F(FolderLinkTest, AllOperationsReachIt) {
  const auto opened = remote_folder(socket(), "s3://b/p");
  Folder& folder = **opened;
  ASSERT_TRUE(folder.make_folder("").ok());
  ASSERT_TRUE(folder.make_folder("x").ok());
  ASSERT_TRUE(folder.write("x/a", "text").ok());
  ASSERT_TRUE(folder.sync("x").ok());
  EXPECT_TRUE(folder.exists("x/a"));
  EXPECT_EQ(*folder.read("x/a", 10), "text");
  EXPECT_FALSE(folder.read("x/a", 3).ok());
  ASSERT_TRUE(folder.write("x/empty", "").ok());
  EXPECT_EQ(*folder.read("x/empty", 10), "");
  EXPECT_EQ(folder.link("x/empty", "x/a").error().code, Errc::kNameExists);
  ASSERT_TRUE(folder.rename("x/a", "x/b").ok());
  EXPECT_EQ(*folder.list("x"), (std::vector<std::string>{"b", "empty"}));
  EXPECT_EQ(folder.read("x/a", 10).error().code, Errc::kNotFound);
  EXPECT_EQ(folder.open("x/a").error().code, Errc::kNotFound);
  ASSERT_TRUE(folder.remove("x/b").ok());
  ASSERT_TRUE(folder.remove("x/empty").ok());
  ASSERT_TRUE(folder.remove_folder("x").ok());
  EXPECT_TRUE(folder.list("")->empty());
  EXPECT_FALSE(folder.create("x", 4096).ok());
  EXPECT_FALSE(folder.write("x", std::string(100'000, 'x')).ok());
  EXPECT_EQ(folder.name("x"), "s3://b/p/x");
}

TEST_F(FolderLinkTest, WhatCannotBeAskedIsNotAnEmptyFolder) {
  const auto gone = remote_folder(socket(), "s3://gone");
  EXPECT_FALSE((*gone)->exists("a"));
  EXPECT_EQ((*gone)->list("").error().code, Errc::kStoreUnavailable);
  EXPECT_FALSE((*gone)->write("a", "b").ok());
  // Not by way of the server, which may have other rights.
  const auto near = remote_folder(socket(), folder_);
  EXPECT_EQ((*near)->list("").error().code, Errc::kInvalidField);
  const auto nobody = remote_folder(folder_ + "/none", "s3://b/p");
  EXPECT_EQ((*nobody)->list("").error().code, Errc::kUnavailable);
}

}  // namespace
}  // namespace holdfast::engine
