#pragma once

#include <cstdint>
#include <string>

#include "base/id.h"
#include "base/result.h"
#include "base/time.h"

namespace holdfast {

// The link of two nodes: the listener serves, the caller measures. Both ends verify every byte.
struct LinkSession {
  CheckId check;
  std::uint32_t step = 0;
  NodeId self, peer;
  std::string address;     // of the listener: where it listens, where the caller connects
  std::uint16_t port = 0;  // likewise
  Duration load;           // of both directions together
  Duration budget;         // of everything
};

struct LinkReport {
  double latency_us = 0;  // one way: half the median time of there and back, 64 bytes
  double bandwidth = 0;   // GB/s, of the slower direction
};

// Who calls with another check, step or node than the session's is sent away. Serves again when a
// caller breaks off, until one has finished. kUnavailable: none did; kDamaged: bytes were wrong.
[[nodiscard]] Result<void> serve_link(const LinkSession& session);
[[nodiscard]] Result<LinkReport> measure_link(const LinkSession& session);

}  // namespace holdfast
