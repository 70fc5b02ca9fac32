#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"

namespace holdfast {

// One all-reduce after the other over a ring of nodes, each sum verified: the first of them after
// each hop, so that it is known who sent what was wrong.
struct RingMember {
  NodeId node;
  std::string address;
  std::uint16_t port = 0;
};
struct RingSession {
  CheckId check;
  std::uint32_t step = 0;
  std::uint32_t position = 0;  // of this node in the ring; it sends to the next one
  std::vector<RingMember> ring;
  Duration load;
  Duration budget;
};

struct RingReport {
  double bandwidth = 0;  // GB/s on the bus: 2 (n-1) / n times the bytes of a vector, a second
  std::string problem;   // empty: all sums were right
  // Who is at fault for the problem; none: somebody else has found it and broken off, or it is this
  // node's own.
  std::optional<NodeId> culprit;
  bool is_echo = false;  // broken off by another node
};

// A node that does not connect, that says nothing for five seconds (while it waits it says that it
// lives), that goes away or sends a wrong sum is named by the one that it sends to; all others
// break off.
[[nodiscard]] RingReport run_all_reduce(const RingSession& session);

}  // namespace holdfast
