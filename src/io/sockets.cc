#include "io/sockets.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "io/files.h"

namespace holdfast {

namespace {

// The first and the last port that the kernel gives to outgoing connections.
std::pair<int, int> ephemeral_ports() {
  const auto text = read_file("/proc/sys/net/ipv4/ip_local_port_range", 100);
  if (!text.ok()) return {32768, 60999};
  char* end = nullptr;
  const long first = std::strtol(text->c_str(), &end, 10);
  return {static_cast<int>(first), static_cast<int>(std::strtol(end, nullptr, 10))};
}

// 0, or why it cannot be bound.
int try_bind(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* raw = nullptr;
  if (::getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints,
                    &raw) != 0)
    return EINVAL;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> found(raw, &::freeaddrinfo);
  for (const addrinfo* address = raw; address != nullptr; address = address->ai_next) {
    const UniqueFd fd(::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd && errno == EAFNOSUPPORT) continue;  // a machine without IPv6
    // An IPv6 socket would stand in the way of our own IPv4 one.
    const int only = 1;
    if (fd && address->ai_family == AF_INET6)
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    if (!fd || ::bind(fd.get(), address->ai_addr, address->ai_addrlen) != 0) return errno;
  }
  return 0;
}

}  // namespace

Result<std::uint16_t> free_port(const std::string& host, std::uint16_t first, std::uint16_t last,
                                std::uint16_t hint) {
  const auto [ephemeral_first, ephemeral_last] = ephemeral_ports();
  const int count = last - first + 1;
  const int start = hint >= first && hint <= last ? hint - first : 0;
  for (int i = 0; i < count; ++i) {
    const int port = first + (start + i) % count;
    if (port >= ephemeral_first && port <= ephemeral_last) continue;
    const int error = try_bind(host, port);
    if (error == 0) return static_cast<std::uint16_t>(port);
    if (error == EADDRINUSE || error == EACCES) continue;
    return os_error("cannot bind a port on", host.empty() ? "all addresses" : "address " + host,
                    error);
  }
  return Error{Errc::kPortInUse, "no free TCP port in " + std::to_string(first) + ".." +
                                     std::to_string(last) + " outside the kernel's own range " +
                                     std::to_string(ephemeral_first) + ".." +
                                     std::to_string(ephemeral_last) + "; give a wider range"};
}

Result<void> check_port(const std::string& host, std::uint16_t port) {
  const int error = try_bind(host, port);
  if (error == 0) return {};
  if (error == EADDRINUSE)
    return Error{Errc::kPortInUse, "port: " + std::to_string(port) + " on " + host +
                                       " is in use by another program; give another one, or 0 for "
                                       "a free one"};
  return os_error("cannot bind", "port " + std::to_string(port) + " on " + host, error);
}

Result<std::pair<UniqueFd, UniqueFd>> socket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    return os_error("cannot make", "a socket pair", errno);
  return std::pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace holdfast
