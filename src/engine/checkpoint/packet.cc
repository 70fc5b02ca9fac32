#include "engine/checkpoint/packet.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/os_error.h"
#include "model/json_text.h"

namespace holdfast::engine {

using nlohmann::json;

Result<void> send_packet(int socket, const std::string& text, int descriptor) {
  iovec part{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  ssize_t n = 0;
  do n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0) return Error{Errc::kUnavailable, "the node's snapshot server is gone"};
  return {};
}

std::optional<std::string> receive_packet(int socket, int* descriptor) {
  // Kept: to make and zero so much for some hundred bytes costs more than all else here.
  thread_local const auto buffer = std::make_unique_for_overwrite<char[]>(kPacketMax);
  iovec part{.iov_base = buffer.get(), .iov_len = kPacketMax};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = 0;
  do n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  int received = -1;
  if (const cmsghdr* header = n > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
      header != nullptr && header->cmsg_type == SCM_RIGHTS)
    std::memcpy(&received, CMSG_DATA(header), sizeof received);
  if (descriptor != nullptr)
    *descriptor = received;
  else if (received >= 0)
    ::close(received);
  if (n <= 0 || (message.msg_flags & MSG_TRUNC) != 0) return std::nullopt;
  return std::string(buffer.get(), static_cast<std::size_t>(n));
}

Result<int> open_connection(const std::string& path, int flags) {
  const int connection = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
  if (connection < 0) return os_error("cannot make a socket for", path, errno);
  const LocalAddress address(path);
  if (::connect(connection, address.get(), sizeof(sockaddr_un)) != 0) {
    const int number = errno;
    ::close(connection);
    return Error{Errc::kUnavailable, os_error("cannot reach", path, number).detail};
  }
  return connection;
}

Result<json> exchange(int connection, const json& request, int* descriptor, bool* is_alive) {
  const Result<void> sent = send_packet(connection, request.dump(), -1);
  const auto text = sent.ok() ? receive_packet(connection, descriptor) : std::nullopt;
  if (is_alive != nullptr) *is_alive = text.has_value();
  if (!text) return Error{Errc::kUnavailable, "the node's snapshot server is gone"};
  json reply = parse_json_text(*text);
  if (!reply.is_object()) return Error{Errc::kUnparsable, "the node's snapshot server"};
  if (!reply.contains("error")) return reply;
  if (!reply["error"].is_string() || !reply.contains("code") || !reply["code"].is_number_integer())
    return Error{Errc::kUnparsable, "the node's snapshot server"};
  return Error{static_cast<Errc>(reply["code"].get<int>()), reply["error"].get<std::string>()};
}

json to_json(const Error& error) {
  return {{"error", error.detail}, {"code", static_cast<int>(error.code)}};
}

}  // namespace holdfast::engine
