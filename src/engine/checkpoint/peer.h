#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "engine/checkpoint/snapshot_memory.h"

namespace holdfast::engine {

// Bytes to and from another node's snapshot server. Who is at the other end was proven when it was
// made. A peer that is silent for long gives an error.
class PeerStream {
 public:
  virtual ~PeerStream() = default;
  virtual Result<void> send(std::span<const std::byte> bytes) = 0;
  // All of them.
  virtual Result<void> receive(std::span<std::byte> bytes) = 0;
};

class PeerConnector {
 public:
  virtual ~PeerConnector() = default;
  virtual Result<std::unique_ptr<PeerStream>> connect(const std::string& address) = 0;
};

// Answers the requests of one peer until its stream ends. Nothing that a peer says changes the
// memory: peers fetch, they do not push.
void serve_peer(PeerStream& stream, SnapshotMemory& memory);

// Copies an image from a peer into this node's memory, verified; waits up to `wait` for the peer to
// have it. kNotFound: it has none. An image that is here already is fine.
Result<void> fetch_from_peer(PeerStream& stream, SnapshotMemory& memory, const std::string& job,
                             const ShardId& id, std::chrono::milliseconds wait);

}  // namespace holdfast::engine
