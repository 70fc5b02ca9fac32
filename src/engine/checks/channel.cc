#include "engine/checks/channel.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/os_error.h"

namespace holdfast {
namespace {

using Clock = std::chrono::steady_clock;

int ms_of(Duration duration) {
  return static_cast<int>(std::clamp<std::int64_t>(duration.ms(), 0, 1'000'000));
}

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

Result<Address> address_of(const std::string& host, std::uint16_t port) {
  Address address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.length = sizeof *v4;
  } else if (::inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.length = sizeof *v6;
  } else {
    return Error{Errc::kInvalidField, "address: '" + host + "' is no IP address"};
  }
  return address;
}

Error gone(const std::string& what) {
  return {Errc::kUnavailable, what};
}

}  // namespace

Channel::Channel(int fd, Duration patience) : fd_(fd), patience_(patience) {
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

Channel::~Channel() {
  if (fd_ >= 0) ::close(fd_);
}

Channel& Channel::operator=(Channel&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(patience_, other.patience_);
  return *this;
}

Result<Channel> Channel::connect(const std::string& host, std::uint16_t port, Duration within,
                                 Duration patience) {
  HF_TRY(const Address address, address_of(host, port));
  const auto deadline = Clock::now() + std::chrono::nanoseconds(within.ns);
  int problem = ETIMEDOUT;
  do {
    const int fd =
        ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return os_error("cannot make", "a socket", errno);
    Channel channel(fd, patience);
    const auto* target = reinterpret_cast<const sockaddr*>(&address.storage);
    problem = ::connect(fd, target, address.length) == 0 ? 0 : errno;
    if (problem == EINPROGRESS) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::min<Clock::duration>(deadline - Clock::now(), std::chrono::seconds(2)));
      pollfd poll = {fd, POLLOUT, 0};
      socklen_t size = sizeof problem;
      problem = ETIMEDOUT;
      if (::poll(&poll, 1, std::max(0, static_cast<int>(left.count()))) == 1)
        ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
    }
    if (problem == 0) return channel;
    ::poll(nullptr, 0, 20);
  } while (Clock::now() < deadline);
  return gone("cannot connect to " + host + ":" + std::to_string(port) + ": " +
              std::strerror(problem));
}

Result<void> Channel::wait(short events) {
  pollfd poll = {fd_, events, 0};
  if (::poll(&poll, 1, ms_of(patience_)) > 0) return {};
  return gone("the other side moved nothing for " + std::to_string(patience_.ms()) + " ms");
}

Result<std::size_t> Channel::send_some(const void* bytes, std::size_t size) {
  const ssize_t n = ::send(fd_, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n >= 0) return static_cast<std::size_t>(n);
  if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
  return gone(std::string("the connection broke: ") + std::strerror(errno));
}

Result<std::size_t> Channel::receive_some(void* bytes, std::size_t size) {
  const ssize_t n = ::recv(fd_, bytes, size, MSG_DONTWAIT);
  if (n > 0) return static_cast<std::size_t>(n);
  if (n == 0) return gone("the other side closed the connection");
  if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
  return gone(std::string("the connection broke: ") + std::strerror(errno));
}

Result<void> Channel::send(const void* bytes, std::size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    HF_TRY(const std::size_t n, send_some(at, size));
    if (n == 0) HF_TRY_VOID(wait(POLLOUT));
    at += n;
    size -= n;
  }
  return {};
}

Result<void> Channel::receive(void* bytes, std::size_t size) {
  char* at = static_cast<char*>(bytes);
  while (size > 0) {
    HF_TRY(const std::size_t n, receive_some(at, size));
    if (n == 0) HF_TRY_VOID(wait(POLLIN));
    at += n;
    size -= n;
  }
  return {};
}

Result<Listener> Listener::open(const std::string& host, std::uint16_t port) {
  HF_TRY(const Address address, address_of(host, port));
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return os_error("cannot make", "a socket", errno);
  Listener listener(fd);
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0 ||
      ::listen(fd, 8) != 0) {
    if (errno == EADDRINUSE)
      return Error{Errc::kPortInUse, "port " + std::to_string(port) + " is in use"};
    return os_error("cannot listen on", host + ":" + std::to_string(port), errno);
  }
  return listener;
}

Listener::~Listener() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Channel> Listener::accept(Duration within, Duration patience) {
  pollfd poll = {fd_, POLLIN, 0};
  if (::poll(&poll, 1, ms_of(within)) == 1) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) return Channel(fd, patience);
  }
  return gone("nobody connected within " + std::to_string(within.ms()) + " ms");
}

std::uint16_t Listener::port() const {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  ::getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &length);
  return ntohs(storage.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

}  // namespace holdfast
