#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"
#include "io/unique_fd.h"

namespace holdfast {

// A TCP port in [first, last] that can be bound on `host` (a numeric address; empty: all addresses)
// right now, tried in order from `hint` on and round. Ports that the kernel gives to outgoing
// connections are left out: one of those could be taken before the port is used.
// kPortInUse: there is none.
[[nodiscard]] Result<std::uint16_t> free_port(const std::string& host, std::uint16_t first,
                                              std::uint16_t last, std::uint16_t hint);

// kPortInUse: `port` cannot be bound on `host` right now.
[[nodiscard]] Result<void> check_port(const std::string& host, std::uint16_t port);

// A connected pair of stream sockets, closed on exec.
[[nodiscard]] Result<std::pair<UniqueFd, UniqueFd>> socket_pair();

}  // namespace holdfast
