#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "model/fault.h"

namespace holdfast {

// A fault as a node's record keeps it: one entry per kind, code and device, however often it came.
struct NodeFault {
  Fault fault;  // as it was seen last
  Instant first;
  Instant last;
  std::uint32_t times = 1;
  // A monitor sees it still and will say when it is over; false for what comes as a line.
  bool present = false;

  friend bool operator==(const NodeFault&, const NodeFault&) = default;
};

// A rung of the ladder that was taken.
struct Repair {
  Action action = Action::kNone;  // kResetDevice, kRebootNode or kReplaceNode
  std::string kind;               // of the fault
  std::string device;
  Instant at;

  friend bool operator==(const Repair&, const Repair&) = default;
};

// What a node's state is explained with.
struct NodeHealth {
  std::vector<NodeFault> faults;  // oldest first by `last`, the newest kFaultsKept
  std::vector<Repair> repairs;    // oldest first, the newest kRepairsKept
  std::uint32_t repairs_made = 0;
  Action due = Action::kNone;    // what the node waits for or is in the middle of
  std::optional<Fault> due_for;  // and why

  friend bool operator==(const NodeHealth&, const NodeHealth&) = default;
};
inline constexpr std::size_t kFaultsKept = 20;  // as many as HyperPod's annotation holds
inline constexpr std::size_t kRepairsKept = 16;

}  // namespace holdfast
