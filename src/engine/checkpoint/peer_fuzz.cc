// Any bytes as what another node sends: as a request to this one's snapshot server, and as the
// answer to a fetch of it. Neither harms the memory, whatever the peer says.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/check.h"
#include "engine/checkpoint/peer.h"

namespace {

using namespace holdfast;
using namespace holdfast::engine;

// Gives the bytes, then is gone; takes what is sent.
class BytesStream final : public PeerStream {
 public:
  explicit BytesStream(std::span<const std::byte> bytes) : rest_(bytes) {}
  Result<void> send(std::span<const std::byte>) override { return {}; }
  Result<void> receive(std::span<std::byte> bytes) override {
    if (bytes.size() > rest_.size()) return Error{Errc::kUnavailable, "gone"};
    std::ranges::copy(rest_.first(bytes.size()), bytes.begin());
    rest_ = rest_.subspan(bytes.size());
    return {};
  }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::span<const std::byte> input(reinterpret_cast<const std::byte*>(bytes), size);
  // The length comes first and is not what is looked for.
  std::vector<std::byte> framed(sizeof(std::uint32_t));
  const auto length = static_cast<std::uint32_t>(
      std::min<std::size_t>(size, std::find(bytes, bytes + size, '\n') - bytes));
  std::memcpy(framed.data(), &length, sizeof length);
  framed.insert(framed.end(), input.begin(), input.end());

  SnapshotMemory memory;
  constexpr ShardId kId{2, 30, 1, 4};
  BytesStream answer(framed);
  (void)fetch_from_peer(answer, memory, "train", kId, std::chrono::milliseconds(0));
  for (const SnapshotMemory::Slot& slot : memory.list("train")) CHECK(slot.id == kId);

  // A request may ask to wait, which is of no use here.
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  if (text.find("\"wait_ms\":0") == std::string_view::npos) return 0;
  BytesStream request(framed);
  serve_peer(request, memory);
  return 0;
}
