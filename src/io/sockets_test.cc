#include "io/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace holdfast {
namespace {

constexpr std::uint16_t kFirst = 20'000, kLast = 29'999;

UniqueFd bind_loopback(std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

TEST(FreePort, CanBeBound) {
  for (const char* host : {"127.0.0.1", ""}) {
    const auto port = free_port(host, kFirst, kLast, 21'000);
    ASSERT_TRUE(port.ok()) << port.error().text();
    EXPECT_GE(*port, kFirst);
    EXPECT_LE(*port, kLast);
    EXPECT_TRUE(bind_loopback(*port));
  }
}

TEST(FreePort, SkipsATakenOneAndGoesRound) {
  const std::uint16_t first = *free_port("", kFirst, kLast, 22'000);
  const UniqueFd taken = bind_loopback(first);
  for (const char* host : {"127.0.0.1", ""}) {
    EXPECT_NE(*free_port(host, kFirst, kLast, first), first) << host;
    const auto none = free_port(host, first, first, first);
    ASSERT_FALSE(none.ok());
    EXPECT_EQ(none.error().code, Errc::kPortInUse);
  }
  const std::uint16_t before = *free_port("127.0.0.1", kFirst, first, first);
  EXPECT_LT(before, first);
}

TEST(FreePort, StaysOutOfTheKernelsRange) {
  EXPECT_THAT(free_port("127.0.0.1", 40'000, 40'010, 40'000).error().detail,
              testing::HasSubstr("outside the kernel's own range"));
}

TEST(FreePort, ABadAddressIsNamed) {
  EXPECT_THAT(free_port("nowhere", kFirst, kLast, kFirst).error().detail,
              testing::HasSubstr("nowhere"));
  EXPECT_FALSE(free_port("203.0.113.7", kFirst, kLast, kFirst).ok());  // not ours
}

TEST(SocketPair, TalksAndClosesOnExec) {
  const auto pair = std::move(socket_pair().value());
  ASSERT_EQ(::write(pair.first.get(), "hi", 2), 2);
  char text[2];
  ASSERT_EQ(::read(pair.second.get(), text, 2), 2);
  EXPECT_EQ(std::string(text, 2), "hi");
  EXPECT_EQ(::fcntl(pair.first.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(pair.second.get(), F_GETFD), FD_CLOEXEC);
}

TEST(Ports, OneThatWasAskedForIsCheckedAndNotReplaced) {
  const std::uint16_t port = *free_port("127.0.0.1", kFirst, kLast, 23'000);
  EXPECT_TRUE(check_port("127.0.0.1", port).ok());
  const UniqueFd taken(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  ASSERT_EQ(::bind(taken.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const auto refused = check_port("127.0.0.1", port);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kPortInUse);
  EXPECT_NE(refused.error().detail.find(std::to_string(port)), std::string::npos);
}

}  // namespace
}  // namespace holdfast
