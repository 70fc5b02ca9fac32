#include "apps/s3_folder.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "engine/checkpoint/copy_commit.h"
#include "engine/checkpoint/image_test.h"
#include "engine/checkpoint/persist.h"
#include "engine/checkpoint/posix_folder.h"
#include "engine/checkpoint/snapshot_memory.h"
#include "engine/checkpoint/store.h"
#include "io/s3_store_test.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using engine::Base;
using engine::PersistRequest;
using engine::Store;
using engine::TestImage;

constexpr std::uint64_t kTensorBytes = 9'000'000;

class S3FolderTest : public ScratchFolder {
 protected:
  S3FolderTest() {
    ::signal(SIGPIPE, SIG_IGN);
    options_.retry = {milliseconds(1), milliseconds(20)};
    options_.part_bytes = std::uint64_t{1} << 20;
    options_.patience = seconds(10);
  }

  // As another process would open it.
  std::unique_ptr<engine::Folder> open() {
    const AwsSources sources{[this](const std::string& name) -> std::optional<std::string> {
                               if (name == "AWS_ENDPOINT_URL") return store_.endpoint();
                               if (name == "AWS_ACCESS_KEY_ID") return "AKID";
                               if (name == "AWS_SECRET_ACCESS_KEY") return "secret";
                               return std::nullopt;
                             },
                             [](const std::string&) { return std::optional<std::string>(); }};
    auto bucket = S3Bucket::open("bucket", sources, options_);
    EXPECT_TRUE(bucket.ok()) << bucket.error().text();
    return s3_folder(std::move(*bucket), "models/llama");
  }

  static Result<void> commit(engine::Folder& folder, std::uint64_t attempt, std::uint64_t step) {
    Result<void> done;
    for (std::uint32_t rank = 2; rank-- > 0;) {
      const TestImage image({attempt, step, rank, 2}, kTensorBytes);
      const auto memory = engine::Region::make(image.bytes.size());  // aligned, as a disk wants it
      if (!memory.ok()) return memory.error();
      const auto bytes = (*memory)->bytes().first(image.bytes.size());
      std::memcpy(bytes.data(), image.bytes.data(), bytes.size());
      const PersistRequest request{
          .job = "job", .id = {attempt, step, rank, 2}, .retention = {.last = 2}, .threads = 2};
      done = engine::persist(folder, request, bytes, image.seal(), {});
    }
    return done;
  }

  static void expect_restores(engine::Folder& folder, const Base& at) {
    const auto manifest = Store(folder, "job", 99).manifest(at);
    ASSERT_TRUE(manifest.ok()) << manifest.error().text();
    for (const engine::ShardEntry& entry : manifest->shards) {
      const std::string path =
          engine::step_folder(at.attempt, at.step) + "/" + engine::shard_name(entry.rank);
      auto file = folder.open(path);
      ASSERT_TRUE(file.ok()) << file.error().text();
      const auto reader = engine::ShardReader::open(std::move(*file), path,
                                                    {at.attempt, at.step, entry.rank, 2}, &entry);
      ASSERT_TRUE(reader.ok()) << reader.error().text();
      const TestImage image({at.attempt, at.step, entry.rank, 2}, kTensorBytes);
      std::string tensor(kTensorBytes, '\0');
      const auto read = reader->read(
          {{reader->index().tensors[0].at, std::as_writable_bytes(std::span(tensor))}}, 4);
      ASSERT_TRUE(read.ok()) << read.error().text();
      EXPECT_TRUE(tensor == image.tensor(0));
    }
  }

  S3StoreForTest store_;
  S3Options options_;
};

TEST_F(S3FolderTest, RanksCommitRestoreAndCollect) {
  for (const std::uint64_t step : {10, 20, 30}) {
    const auto folder = open();
    const auto done = commit(*folder, 1, step);
    ASSERT_TRUE(done.ok()) << done.error().text();
  }
  const auto folder = open();
  EXPECT_EQ(*Store(*folder, "job", 2).chain(), (std::vector<Base>{{1, 30}, {1, 20}}));
  expect_restores(*folder, {1, 30});
  EXPECT_EQ(store_.object("models/llama/attempt-0001/step-00000010/rank-0000.shard"), "");
  EXPECT_EQ(store_.pending_uploads(), 0u);
}

TEST_F(S3FolderTest, AStoreThatListsLateShowsTheNewest) {
  ASSERT_TRUE(commit(*open(), 1, 10).ok());
  store_.freeze_listings();
  ASSERT_TRUE(commit(*open(), 1, 20).ok());
  const auto folder = open();
  EXPECT_EQ(*Store(*folder, "job", 2).chain(), (std::vector<Base>{{1, 20}, {1, 10}}));
  // The next attempt begins from it, and the old one sees that it has begun.
  ASSERT_TRUE(commit(*open(), 2, 30).ok());
  EXPECT_EQ(*Store(*open(), "job", 3).chain(), (std::vector<Base>{{2, 30}, {1, 20}}));
  EXPECT_EQ(commit(*open(), 1, 40).error().code, Errc::kStaleAttempt);
}

TEST_F(S3FolderTest, LineageIsWrittenOnce) {
  const auto folder = open();
  ASSERT_TRUE(folder->write("a.tmp", "first").ok());
  ASSERT_TRUE(folder->link("a.tmp", "a").ok());
  ASSERT_TRUE(folder->write("b.tmp", "second").ok());
  EXPECT_EQ(folder->link("b.tmp", "a").error().code, Errc::kNameExists);
  EXPECT_EQ(*open()->read("a", 10), "first");
  EXPECT_FALSE(open()->exists("a.tmp"));
  EXPECT_EQ(open()->read("nothing", 10).error().code, Errc::kNotFound);
}

TEST_F(S3FolderTest, MisbehaviourCostsTimeOnly) {
  for (const Misbehaviour how : {Misbehaviour::k500, Misbehaviour::k503, Misbehaviour::kCutOff,
                                 Misbehaviour::kDoneThenCutOff}) {
    for (const char* method : {"PUT", "POST", "HEAD", "GET"}) store_.misbehave(method, "", how, 3);
    const std::uint64_t step = 100 + static_cast<std::uint64_t>(how);
    const auto done = commit(*open(), 1, step);
    ASSERT_TRUE(done.ok()) << done.error().text();
    expect_restores(*open(), {1, step});
    EXPECT_GE(store_.misbehaved(), 12u);
    store_.behave();
  }
}

TEST_F(S3FolderTest, AStoreThatIsGoneIsNotAnEmptyOne) {
  ASSERT_TRUE(commit(*open(), 1, 10).ok());
  options_.patience = milliseconds(100);
  const auto folder = open();
  store_.misbehave("HEAD", "lineage", Misbehaviour::k503, 1'000'000);
  EXPECT_FALSE(folder->exists("attempt-0001/lineage.json"));
  store_.behave();
  EXPECT_EQ(folder->list("").error().code, Errc::kStoreUnavailable);
  EXPECT_EQ(folder->write("x", "y").error().code, Errc::kStoreUnavailable);
  EXPECT_FALSE(commit(*folder, 2, 20).ok());
  EXPECT_EQ(*Store(*open(), "job", 3).chain(), (std::vector<Base>{{1, 10}}));
}

TEST_F(S3FolderTest, CommitsAreCopiedUpAndDown) {
  const auto disk = engine::posix_folder(folder() + "/ckpt");
  const auto done = commit(*disk, 1, 10);
  ASSERT_TRUE(done.ok()) << done.error().text();
  const auto up = engine::copy_commit(*disk, *open(), "job", {1, 10}, 2);
  ASSERT_TRUE(up.ok()) << up.error().text();
  expect_restores(*open(), {1, 10});
  const auto other = engine::posix_folder(folder() + "/other");
  const auto down = engine::copy_commit(*open(), *other, "job", {1, 10}, 4);
  ASSERT_TRUE(down.ok()) << down.error().text();
  expect_restores(*other, {1, 10});
}

TEST_F(S3FolderTest, AFlippedBitIsNoticed) {
  ASSERT_TRUE(commit(*open(), 1, 10).ok());
  store_.misbehave("GET", "rank-0001.shard", Misbehaviour::kFlipsABit, 1'000'000);
  const auto disk = engine::posix_folder(folder() + "/ckpt");
  EXPECT_EQ(engine::copy_commit(*open(), *disk, "job", {1, 10}, 2).error().code, Errc::kDamaged);
  EXPECT_TRUE(Store(*disk, "job", 2).chain()->empty());
}

}  // namespace
}  // namespace holdfast
