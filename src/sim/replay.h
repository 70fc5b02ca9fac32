#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "model/event.h"

namespace holdfast::sim {

// An entry of a server's journal, as it is there.
struct LogEntry {
  std::uint64_t seq = 0;
  Instant at;
  std::string event;  // JSON
  std::uint64_t effects_digest = 0;
};

// What this version's control plane makes of it.
struct ReplayStep {
  std::uint64_t seq = 0;
  Instant at;
  Event event;
  std::vector<effect::Audit> audits;
  // What left: "start_ranks" 4 times, "provision n5" once, in the order of their first.
  std::vector<std::pair<std::string, std::uint32_t>> effects;
  bool is_same = true;  // as when the entry was written
};

struct Replayed {
  std::uint64_t steps = 0;
  std::uint64_t differing = 0;
  std::uint64_t digest = 0;  // of the state it ends in
};

// Feeds the log of a real server, from its snapshot on, to the same machine, step by step. Goes on
// after an entry that leads to something else than it did; kUnparsable for one that cannot be read.
[[nodiscard]] Result<Replayed> replay(const std::optional<std::string>& snapshot,
                                      std::span<const LogEntry> log,
                                      const std::function<void(const ReplayStep&)>& on_step);

}  // namespace holdfast::sim
