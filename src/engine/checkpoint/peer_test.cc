#include "engine/checkpoint/peer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include "engine/checkpoint/image_test.h"
#include "engine/checkpoint/packet.h"
#include "engine/checkpoint/snapshot_link.h"

namespace holdfast::engine {
namespace {

constexpr ShardId kId{2, 30, 1, 4};

// A socket pair in the place of TLS; `flip` changes one byte of what passes, counted from 0.
class PlainStream final : public PeerStream {
 public:
  explicit PlainStream(int fd) : fd_(fd) {}
  ~PlainStream() override { ::close(fd_); }
  Result<void> send(std::span<const std::byte> bytes) override {
    std::string copy(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (flip >= sent_ && flip < sent_ + copy.size()) copy[flip - sent_] ^= 1;
    sent_ += copy.size();
    const std::size_t most = cut > sent_ ? copy.size() : copy.size() / 2;
    if (::send(fd_, copy.data(), most, MSG_NOSIGNAL) != static_cast<ssize_t>(most) ||
        most < copy.size())
      return Error{Errc::kUnavailable, "cut"};
    return {};
  }
  Result<void> receive(std::span<std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
      if (n <= 0) return Error{Errc::kUnavailable, "gone"};
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }
  std::uint64_t flip = UINT64_MAX;
  std::uint64_t cut = UINT64_MAX;

 private:
  const int fd_;
  std::uint64_t sent_ = 0;
};

class PeerTest : public testing::Test {
 protected:
  PeerTest() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
    ours_ = std::make_unique<PlainStream>(fds[0]);
    theirs_ = std::make_unique<PlainStream>(fds[1]);
  }
  ~PeerTest() override {
    ours_.reset();
    if (thread_.joinable()) thread_.join();
  }
  void serve() {
    thread_ = std::thread([this] {
      serve_peer(*theirs_, far_);
      theirs_.reset();
    });
  }
  static void put(SnapshotMemory& memory, const ShardId& id) {
    const TestImage image(id, 3 << 20);
    const auto slot = memory.take("j", id.rank, image.bytes.size());
    ASSERT_TRUE(slot.ok());
    std::memcpy(slot->region->bytes().data(), image.bytes.data(), image.bytes.size());
    ASSERT_TRUE(memory.publish(slot->number, id, image.bytes.size(), false).ok());
  }
  Result<void> fetch(const ShardId& id, int wait_ms = 0) {
    return fetch_from_peer(*ours_, near_, "j", id, std::chrono::milliseconds(wait_ms));
  }
  bool same() {
    const auto slot = near_.pin("j", kId, 1);
    const TestImage image(kId, 3 << 20);
    return slot.ok() &&
           std::memcmp(slot->region->bytes().data(), image.bytes.data(), image.bytes.size()) == 0;
  }

  SnapshotMemory near_, far_;
  std::unique_ptr<PlainStream> ours_, theirs_;
  std::thread thread_;
};

TEST_F(PeerTest, AnImageComesOver) {
  put(far_, kId);
  serve();
  EXPECT_EQ(fetch({2, 31, 1, 4}).error().code, Errc::kNotFound);
  const auto done = fetch(kId);
  ASSERT_TRUE(done.ok()) << done.error().text();
  EXPECT_TRUE(same());
  EXPECT_TRUE(fetch(kId).ok()) << "it is here already";
}

TEST_F(PeerTest, ItIsWaitedFor) {
  serve();
  std::thread rank([this] { put(far_, kId); });
  EXPECT_TRUE(fetch(kId, 60'000).ok());
  rank.join();
  EXPECT_TRUE(same());
}

TEST_F(PeerTest, WhatChangedOnItsWayIsNotKept) {
  put(far_, kId);
  theirs_->flip = 2'000'000;
  serve();
  EXPECT_EQ(fetch(kId).error().code, Errc::kDamaged);
  EXPECT_TRUE(near_.list("j").empty());
}

TEST_F(PeerTest, APeerThatGoesHalfWayLeavesNothing) {
  put(far_, kId);
  theirs_->cut = 1'000'000;
  serve();
  EXPECT_EQ(fetch(kId).error().code, Errc::kUnavailable);
  EXPECT_TRUE(near_.list("j").empty());
}

TEST_F(PeerTest, WhateverAPeerAnswersIsAnError) {
  const auto answers = [&](const std::string& text, Errc code) {
    const auto length = static_cast<std::uint32_t>(text.size());
    ASSERT_TRUE(theirs_->send(std::as_bytes(std::span(&length, 1))).ok());
    ASSERT_TRUE(theirs_->send(std::as_bytes(std::span(text))).ok());
    EXPECT_EQ(fetch(kId).error().code, code) << text;
  };
  answers(R"({"error": 5})", Errc::kNotFound);
  answers(R"({"error": null, "bytes": 8})", Errc::kNotFound);
  answers(R"({"bytes": "8", "checksum": "c"})", Errc::kUnparsable);
  answers(R"({"bytes": -8, "checksum": "c"})", Errc::kUnparsable);
  answers(R"({"bytes": 18446744073709551615, "checksum": "c"})", Errc::kUnavailable);
  answers("[]", Errc::kUnparsable);
  answers("", Errc::kUnparsable);
  EXPECT_TRUE(near_.list("j").empty());
}

// The other node: serves `memory` on each connection that is made.
class FarNode final : public PeerConnector {
 public:
  explicit FarNode(SnapshotMemory& memory) : memory_(memory) {}
  ~FarNode() override {
    hang_up();
    for (std::thread& thread : threads_) thread.join();
    for (const int fd : fds_) ::close(fd);
  }
  Result<std::unique_ptr<PeerStream>> connect(const std::string&) override {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
    fds_.push_back(::dup(fds[1]));
    threads_.emplace_back([this, fd = fds[1]] {
      PlainStream stream(fd);
      serve_peer(stream, memory_);
    });
    ++connections;
    return std::unique_ptr<PeerStream>(std::make_unique<PlainStream>(fds[0]));
  }
  void hang_up() {
    for (const int fd : fds_) ::shutdown(fd, SHUT_RDWR);
  }
  std::atomic<int> connections = 0;

 private:
  SnapshotMemory& memory_;
  std::vector<int> fds_;
  std::vector<std::thread> threads_;
};

TEST_F(PeerTest, ReplicasComeOverOneConnectionWhileItLasts) {
  const std::string folder =
      testing::TempDir() + "holdfast-peer-test-" + std::to_string(::getpid());
  std::filesystem::create_directories(folder);
  FarNode node(far_);
  {
    SnapshotServer server(SnapshotServer::listen(folder + "/s.sock").value());
    server.join_peers("near", node);
    std::thread running([&] { server.run(); });
    const auto rank = RemoteSnapshots::connect(folder + "/s.sock", "j", kId.attempt);
    ASSERT_TRUE(rank.ok());
    const auto mirror = [&](std::uint64_t step) {
      const ShardId id{kId.attempt, step, kId.rank, kId.world_size};
      put(far_, id);
      (*rank)->mirror("far", id);
      const auto is_here = [&] {
        const auto images = (*rank)->list();
        return !images.ok() ||
               std::ranges::any_of(*images, [&](const ImageName& name) { return name.id == id; });
      };
      while (!is_here()) std::this_thread::yield();
    };
    for (const std::uint64_t step : {1u, 2u, 3u}) mirror(step);
    EXPECT_EQ(node.connections, 1);
    node.hang_up();
    mirror(4);
    EXPECT_EQ(node.connections, 2);
    server.stop();
    running.join();
  }
  std::filesystem::remove_all(folder);
}

// A rank that asks for a replica goes on training at once: the server says nothing to it.
TEST(SnapshotLinkTest, NobodyWaitsForAReplicaToBeAskedFor) {
  const std::string folder =
      testing::TempDir() + "holdfast-mirror-test-" + std::to_string(::getpid());
  std::filesystem::create_directories(folder);
  const int listener = SnapshotServer::listen(folder + "/s.sock").value();
  bool has_next = false;
  std::thread server([&] {
    const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    EXPECT_TRUE(receive_packet(connection, nullptr));  // hello
    EXPECT_TRUE(send_packet(connection, "{}", -1).ok());
    EXPECT_TRUE(receive_packet(connection, nullptr));  // mirror
    pollfd next{.fd = connection, .events = POLLIN, .revents = 0};
    has_next = ::poll(&next, 1, 5'000) == 1;
    ::close(connection);
  });
  const auto rank = RemoteSnapshots::connect(folder + "/s.sock", "j", kId.attempt);
  ASSERT_TRUE(rank.ok());
  (*rank)->mirror("far", kId);
  EXPECT_FALSE((*rank)->list().ok());
  server.join();
  EXPECT_TRUE(has_next);
  ::close(listener);
  std::filesystem::remove_all(folder);
}

// What a peer may say in the place of an answer, and of a request.
TEST_F(PeerTest, NonsenseIsRefused) {
  const auto say = [](PlainStream& stream, const std::string& text) {
    const auto length = static_cast<std::uint32_t>(text.size());
    ASSERT_TRUE(stream.send(std::as_bytes(std::span(&length, 1))).ok());
    ASSERT_TRUE(stream.send(std::as_bytes(std::span(text))).ok());
  };
  for (const char* text : {"", "[]", "{}", R"({"bytes": -1, "checksum": "x"})", R"({"bytes": 5})",
                           R"({"bytes": 999999999999999, "checksum": "x"})"}) {
    say(*theirs_, text);
    const auto done = fetch(kId);
    EXPECT_FALSE(done.ok()) << text;
  }
  EXPECT_EQ(near_.bytes(), 0u);
  for (const char* text : {"{}", R"({"job": 1, "id": [], "wait_ms": 0})"}) {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    PlainStream one(fds[0]), two(fds[1]);
    say(one, text);
    serve_peer(two, far_);  // returns: it hangs up
  }
}

}  // namespace
}  // namespace holdfast::engine
