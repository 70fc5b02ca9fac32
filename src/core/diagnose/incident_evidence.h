#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/diagnose/flight_record.h"
#include "core/diagnose/rank_log.h"
#include "model/fault.h"
#include "model/link.h"

namespace holdfast {

// All that is known of one attempt from outside a cluster: a folder that someone sent in
// (docs/incident-folder.md). Times are nanoseconds since 1970 UTC, where they are known.

struct RankEvidence {
  enum class State { kRunning, kExited, kLost };  // kLost: its node went away with it

  RankExit exit;  // rank, code and signal; what its log tells is added by judge()
  NodeId node;
  std::int32_t pid = 0;  // 0: not known
  State state = State::kRunning;
  std::optional<std::uint64_t> last_step;
  std::optional<std::int64_t> ended_ns;
  RankLog log;
  std::map<std::string, FlightPosition> collectives;  // by process group; flight record
  std::optional<std::string> stacks;  // a dump of faulthandler or py-spy; empty: it did not answer
};

struct NodeFinding {
  NodeId node;
  Fault fault;
  std::optional<std::int64_t> at_ns;
};

struct IncidentEvidence {
  std::optional<std::int64_t> started_ns;
  std::uint32_t attempts_without_progress = 0;  // before this one, in a row
  std::vector<RankEvidence> ranks;              // by rank, from 0, without gaps
  std::vector<NodeFinding> findings;            // each node's in the order of its log
};

// The first cause, not the loudest echo, and the mildest cure: evidence is folded in order of time.
// A fault of a device or a machine explains what its ranks did after it, not what came before. What
// a program's own mistake explains as well costs a retry first. Evidence::at is the Unix time in
// nanoseconds, 0 where it is not known; the evidence is in that order, the unknown first.
[[nodiscard]] Verdict judge(const IncidentEvidence& evidence);

}  // namespace holdfast
