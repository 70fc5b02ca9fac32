#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace holdfast::engine {

// Requests and answers between a rank and its node's snapshot server: packets of JSON over a local
// socket, memory passed along as a descriptor.

inline constexpr std::size_t kPacketMax = 128 * 1024;

// The address of a socket in a folder with a name of any length, by way of the folder's descriptor.
// False: no such folder.
struct LocalAddress {
  sockaddr_un address{};
  int folder = -1;
  explicit LocalAddress(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    folder = ::open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    const std::string through =
        "/proc/self/fd/" + std::to_string(folder) + "/" + path.substr(slash + 1);
    address.sun_family = AF_UNIX;
    through.copy(address.sun_path, sizeof address.sun_path - 1);
  }
  ~LocalAddress() {
    if (folder >= 0) ::close(folder);
  }
  LocalAddress(const LocalAddress&) = delete;
  LocalAddress& operator=(const LocalAddress&) = delete;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

[[nodiscard]] Result<void> send_packet(int socket, const std::string& text, int descriptor);

// nullopt: the other end is gone, or sends what is no packet of ours.
[[nodiscard]] std::optional<std::string> receive_packet(int socket, int* descriptor);

// To the server that listens on `path`. kUnavailable: there is none.
[[nodiscard]] Result<int> open_connection(const std::string& path, int flags = 0);

// A request and its answer, or the error that it says. `is_alive`: whether there was an answer.
[[nodiscard]] Result<nlohmann::json> exchange(int connection, const nlohmann::json& request,
                                              int* descriptor, bool* is_alive = nullptr);

[[nodiscard]] nlohmann::json to_json(const Error& error);

}  // namespace holdfast::engine
