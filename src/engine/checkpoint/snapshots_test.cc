#include "engine/checkpoint/snapshots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/checkpoint/image_test.h"
#include "engine/checkpoint/posix_folder.h"
#include "engine/checkpoint/snapshot_link.h"

namespace holdfast::engine {
namespace {

class SnapshotsTest : public testing::Test {
 protected:
  SnapshotsTest() {
    std::string pattern = testing::TempDir() + "holdfast_XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
  }
  ~SnapshotsTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // As a rank does it.
  static Result<std::uint64_t> save(Snapshots& snapshots, const ShardId& id) {
    const TestImage image(id, 5000);
    HF_TRY(const MappedImage room, snapshots.take(id.rank, image.bytes.size()));
    std::memcpy(room.region->bytes().data(), image.bytes.data(), image.bytes.size());
    HF_TRY_VOID(snapshots.publish(room.number, id, image.bytes.size(), false));
    return room.number;
  }

  static Result<std::string> restore(Snapshots& snapshots, const ShardId& id) {
    HF_TRY(const MappedImage image, snapshots.open(id));
    HF_TRY(const ShardReader reader,
           ShardReader::open(memory_reader(image.region->bytes().first(image.bytes), image.region),
                             "memory", id, nullptr));
    const TensorPiece& piece = reader.index().tensors[0];
    std::string tensor(piece.bytes, '\0');
    HF_TRY_VOID(reader.read({{piece.at, std::as_writable_bytes(std::span(tensor))}}, 1));
    snapshots.close(image.number);
    return tensor;
  }

  static std::vector<std::uint64_t> steps(Snapshots& snapshots) {
    std::vector<std::uint64_t> found;
    const auto names = snapshots.list();
    for (const ImageName& name : *names) found.push_back(name.id.step);
    std::ranges::sort(found);
    return found;
  }

  PersistCall persist_call(const ShardId& id) const {
    return {.folder = folder_ + "/ck",
            .request = {.job = "job", .id = id, .created = "now", .save = "s", .threads = 2}};
  }

  std::string folder_;
};

ShardId at(std::uint64_t step, std::uint64_t attempt = 1, std::uint32_t rank = 0,
           std::uint32_t world = 1) {
  return {attempt, step, rank, world};
}

TEST_F(SnapshotsTest, TheNewestIsNeverFilledAndMemoryIsBounded) {
  SnapshotMemory memory;
  LocalSnapshots snapshots(memory, "j1");
  for (std::uint64_t step = 1; step <= 20; ++step) {
    ASSERT_TRUE(save(snapshots, at(step)).ok());
    const auto found = steps(snapshots);
    ASSERT_EQ(found.back(), step);
    ASSERT_LE(found.size(), 2u);
    // While the next one is being filled, this one can be restored.
    const auto room = snapshots.take(0, 5000);
    ASSERT_TRUE(room.ok());
    ASSERT_EQ(restore(snapshots, at(step)).value(), TestImage(at(step), 5000).tensor(0));
    snapshots.drop(room->number);
  }
  EXPECT_EQ(memory.bytes(), 2u << 20);
  // The disk writes one of them for long: a third slot, and never a fourth.
  const auto pinned = snapshots.open(at(20));
  ASSERT_TRUE(pinned.ok());
  for (std::uint64_t step = 21; step <= 30; ++step) ASSERT_TRUE(save(snapshots, at(step)).ok());
  EXPECT_EQ(memory.bytes(), 3u << 20);
  EXPECT_EQ(steps(snapshots), (std::vector<std::uint64_t>{20, 29, 30}));
  // A peer another one: a fourth, and never a fifth.
  const auto other = snapshots.open(at(29));
  ASSERT_TRUE(other.ok());
  for (std::uint64_t step = 31; step <= 40; ++step) ASSERT_TRUE(save(snapshots, at(step)).ok());
  EXPECT_EQ(memory.bytes(), 4u << 20);
  EXPECT_EQ(steps(snapshots), (std::vector<std::uint64_t>{20, 29, 39, 40}));
  ASSERT_TRUE(snapshots.open(at(39)).ok());
  EXPECT_EQ(snapshots.take(0, 5000).error().code, Errc::kUnavailable);
  snapshots.close(pinned->number);
  EXPECT_TRUE(save(snapshots, at(41)).ok());
  memory.forget("j1");
  EXPECT_EQ(memory.bytes(), 0u);
}

TEST_F(SnapshotsTest, ALargerStateGetsRoom) {
  SnapshotMemory memory;
  LocalSnapshots snapshots(memory, "j1");
  ASSERT_TRUE(save(snapshots, at(1)).ok());
  for (int i = 0; i < 4; ++i) {
    const auto room = snapshots.take(0, 5 << 20);
    ASSERT_TRUE(room.ok());
    EXPECT_GE(room->region->bytes().size(), 5u << 20);
    snapshots.drop(room->number);
  }
  EXPECT_EQ(steps(snapshots), std::vector<std::uint64_t>{1});
}

TEST_F(SnapshotsTest, AnImageThatIsNotWhatItIsCalledIsDropped) {
  SnapshotMemory memory;
  LocalSnapshots snapshots(memory, "j1");
  const auto room = snapshots.take(0, 8192);
  ASSERT_TRUE(room.ok());
  std::memset(room->region->bytes().data(), 7, 8192);
  ASSERT_TRUE(snapshots.publish(room->number, at(1), 8192, false).ok());
  EXPECT_EQ(snapshots.open(at(1)).error().code, Errc::kNotFound);
  EXPECT_FALSE(snapshots.publish(room->number, at(1), 8192, false).ok());
}

// Kilobytes of this process's memory at `at` that large pages of shared memory hold.
std::uint64_t in_large_pages_kib(const void* at) {
  std::ifstream maps("/proc/self/smaps");
  bool is_it = false;
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " ", &begin, &end) == 2)
      is_it = begin == reinterpret_cast<std::uintptr_t>(at);
    std::uint64_t kib = 0;
    if (is_it && std::sscanf(line.c_str(), "ShmemPmdMapped: %" SCNu64, &kib) == 1) return kib;
  }
  return 0;
}

bool kernel_gives_large_pages() {
  constexpr std::uint64_t kLarge = 2 << 20;
  void* const room = ::mmap(nullptr, 2 * kLarge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto first = (reinterpret_cast<std::uintptr_t>(room) + kLarge - 1) / kLarge * kLarge;
  void* const at = ::mmap(reinterpret_cast<void*>(first), kLarge, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (room == MAP_FAILED || at == MAP_FAILED) return false;
  *static_cast<char*>(at) = 1;
  const bool gives = ::madvise(at, kLarge, 25) == 0;  // MADV_COLLAPSE
  ::munmap(room, 2 * kLarge);
  return gives;
}

TEST_F(SnapshotsTest, MemoryComesInLargePagesAndIsThere) {
  constexpr std::uint64_t kBytes = (5 << 20) + 4096;
  const auto made = Region::make(kBytes);
  ASSERT_TRUE(made.ok());
  struct stat status {};
  ASSERT_EQ(::fstat((*made)->fd(), &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), kBytes);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_blocks) * 512, kBytes) << "none is made later";
  const auto other = Region::map(::dup((*made)->fd()), kBytes, true);
  ASSERT_TRUE(other.ok());
  (*made)->bytes().back() = std::byte{7};
  EXPECT_EQ((*other)->bytes().back(), std::byte{7});
  EXPECT_EQ(std::ranges::count((*made)->bytes(), std::byte{0}), kBytes - 1);
  if (!kernel_gives_large_pages()) GTEST_SKIP() << "not this kernel: Linux 6.1 has MADV_COLLAPSE";
  EXPECT_EQ(in_large_pages_kib((*made)->bytes().data()), 4096u);
  EXPECT_EQ(in_large_pages_kib((*other)->bytes().data()), 4096u);
}

// With a server in another thread: what a rank left outlives its connection, and a persist that it
// asked for goes on without it.
TEST_F(SnapshotsTest, TheServerOutlivesItsRanks) {
  // A name that is too long for a socket's address on its own.
  const std::string deep = folder_ + "/" + std::string(120, 'x');
  std::filesystem::create_directory(deep);
  const std::string path = deep + "/snapshots.sock";
  SnapshotServer server(SnapshotServer::listen(path).value());
  std::thread thread([&] { server.run(); });
  const ShardId id = at(7, 1, 0, 2), other = at(7, 1, 1, 2);
  {
    auto rank = RemoteSnapshots::connect(path, "j1", 1);
    ASSERT_TRUE(rank.ok()) << rank.error().text();
    ASSERT_TRUE(save(**rank, id).ok());
    ASSERT_TRUE(save(**rank, other).ok());
    const auto half_way = (*rank)->take(0, 5000);  // and dies there
    ASSERT_TRUE(half_way.ok());
  }
  auto next = RemoteSnapshots::connect(path, "j1", 1);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ((*next)->list().value().size(), 2u);
  EXPECT_EQ(restore(**next, id).value(), TestImage(id, 5000).tensor(0));
  EXPECT_EQ((*next)->open(at(8)).error().code, Errc::kNotFound);
  auto stranger = RemoteSnapshots::connect(path, "j2", 1);
  EXPECT_TRUE((*stranger)->list().value().empty());

  // Rank 0 waits for rank 1.
  Result<void> zero;
  std::thread waiting([&] { zero = (*next)->persist(persist_call(id)); });
  EXPECT_TRUE((*next)->persist(persist_call(other)).ok());
  waiting.join();
  EXPECT_TRUE(zero.ok()) << zero.error().text();
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/ck/attempt-0001/step-00000007/manifest.json"));

  // The next attempt ends what the old one waits for.
  const ShardId lonely = at(9, 1, 0, 2);
  ASSERT_TRUE(save(**next, lonely).ok());
  std::thread stuck([&] { zero = (*next)->persist(persist_call(lonely)); });
  auto second = RemoteSnapshots::connect(path, "j1", 2);
  stuck.join();
  EXPECT_EQ(zero.error().code, Errc::kUnavailable);

  ASSERT_TRUE(RemoteSnapshots::forget(path, "j1").ok());
  // Told on another connection: it is gone soon.
  while (!(*next)->list().value().empty()) std::this_thread::yield();
  server.stop();
  thread.join();
}

TEST_F(SnapshotsTest, WithoutAServerCallsFail) {
  EXPECT_EQ(RemoteSnapshots::connect(folder_ + "/none.sock", "j", 1).error().code,
            Errc::kUnavailable);
  const std::string path = folder_ + "/s.sock";
  std::unique_ptr<RemoteSnapshots> rank;
  {
    SnapshotServer server(SnapshotServer::listen(path).value());
    std::thread thread([&] { server.run(); });
    auto connected = RemoteSnapshots::connect(path, "j", 1);
    ASSERT_TRUE(connected.ok());
    rank = std::move(*connected);
    server.stop();
    thread.join();
  }
  EXPECT_EQ(rank->take(0, 10).error().code, Errc::kUnavailable);
  EXPECT_EQ(rank->persist(persist_call(at(1))).error().code, Errc::kUnavailable);
}

}  // namespace
}  // namespace holdfast::engine
