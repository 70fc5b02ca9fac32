#include "engine/checkpoint/peer.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <cstring>

#include <nlohmann/json.hpp>

#include "engine/checkpoint/json_ids.h"
#include "engine/checkpoint/parallel.h"
#include "model/json_text.h"

namespace holdfast::engine {
namespace {

using nlohmann::json;

constexpr std::uint32_t kMessageMax = 64 * 1024;
constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
constexpr unsigned kThreads = 2;  // to seal: it is behind training

Result<void> send_message(PeerStream& stream, const json& message) {
  const std::string text = message.dump(-1, ' ', false, json::error_handler_t::replace);
  const auto length = static_cast<std::uint32_t>(text.size());
  // In one piece: each is a record of TLS, and a packet that wakes the other end.
  std::string whole(sizeof length, '\0');
  std::memcpy(whole.data(), &length, sizeof length);
  whole += text;
  return stream.send(std::as_bytes(std::span(whole)));
}

Result<json> receive_message(PeerStream& stream) {
  std::uint32_t length = 0;
  HF_TRY_VOID(stream.receive(std::as_writable_bytes(std::span(&length, 1))));
  if (length > kMessageMax)
    return Error{Errc::kUnparsable,
                 "a peer sent a message of " + std::to_string(length) + " bytes"};
  std::string text(length, '\0');
  HF_TRY_VOID(stream.receive(std::as_writable_bytes(std::span(text))));
  json message = parse_json_text(text);
  if (!message.is_object()) return Error{Errc::kUnparsable, "a peer sent what is no message"};
  return message;
}

Result<void> answer(PeerStream& stream, SnapshotMemory& memory, const json& request) {
  const std::string job = request.at("job");
  const ShardId id = id_from_json(request.at("id"));
  const std::chrono::milliseconds wait(
      std::min<std::uint64_t>(request.at("wait_ms").get<std::uint64_t>(), 600'000));
  memory.wait_published(job, id, wait);
  const Result<SnapshotMemory::Slot> slot = memory.pin(job, id, kThreads);
  if (!slot.ok()) return send_message(stream, {{"error", slot.error().detail}});
  Result<void> sent = send_message(stream, {{"bytes", slot->bytes}, {"checksum", slot->checksum}});
  const std::span<const std::byte> image = slot->region->bytes().first(slot->bytes);
  for (std::uint64_t at = 0; sent.ok() && at < image.size(); at += kPieceBytes)
    sent = stream.send(image.subspan(at, std::min(kPieceBytes, image.size() - at)));
  memory.unpin(slot->number);
  return sent;
}

std::uint64_t largest_image() {
  struct sysinfo machine {};
  return ::sysinfo(&machine) == 0 ? std::uint64_t{machine.totalram} * machine.mem_unit / 2 : 0;
}

Result<void> receive_image(PeerStream& stream, std::span<std::byte> image,
                           const std::string& checksum) {
  for (std::uint64_t at = 0; at < image.size(); at += kPieceBytes)
    HF_TRY_VOID(stream.receive(image.subspan(at, std::min(kPieceBytes, image.size() - at))));
  // Of the bytes that arrived, and not of what their table says.
  HF_TRY(const std::string sealed, seal(image, kThreads));
  if (sealed != checksum)
    return Error{Errc::kDamaged, "the image of a peer changed on its way: checksum " + sealed +
                                     ", the peer says " + checksum};
  return {};
}

}  // namespace

void serve_peer(PeerStream& stream, SnapshotMemory& memory) {
  while (true) {
    const Result<json> request = receive_message(stream);
    if (!request.ok()) return;
    try {
      if (!answer(stream, memory, *request).ok()) return;
    } catch (const json::exception&) {
      return;  // it speaks something else
    }
  }
}

Result<void> fetch_from_peer(PeerStream& stream, SnapshotMemory& memory, const std::string& job,
                             const ShardId& id, std::chrono::milliseconds wait) {
  if (memory.has(job, id)) return {};
  HF_TRY_VOID(send_message(stream, {{"job", job}, {"id", to_json(id)}, {"wait_ms", wait.count()}}));
  HF_TRY(const json reply, receive_message(stream));
  if (reply.contains("error"))
    return Error{Errc::kNotFound,
                 "a peer: " + (reply["error"].is_string() ? reply["error"].get<std::string>()
                                                          : std::string("an error without words"))};
  if (!reply.contains("bytes") || !reply["bytes"].is_number_unsigned() ||
      !reply.contains("checksum") || !reply["checksum"].is_string())
    return Error{Errc::kUnparsable, "a peer's answer has no bytes or no checksum"};
  const std::uint64_t bytes = reply["bytes"];
  if (bytes > largest_image())
    return Error{Errc::kUnavailable, "the peer's image of " + std::to_string(bytes) +
                                         " bytes is more than half of this machine's memory"};
  HF_TRY(const SnapshotMemory::Slot slot, memory.take(job, id.rank, bytes));
  Result<void> done = receive_image(stream, slot.region->bytes().first(bytes), reply["checksum"]);
  if (done.ok()) done = memory.publish(slot.number, id, bytes, false);
  if (!done.ok()) memory.drop(slot.number);
  return done;
}

}  // namespace holdfast::engine
