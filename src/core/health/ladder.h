#pragma once

#include <cstdint>
#include <string>

#include "base/time.h"
#include "model/health.h"

namespace holdfast {

// The ladder of cures: reset the device, reboot the node, replace it. The mildest that the fault's
// rule gives comes first; a symptom that is back within kRecurrence of a cure gets the next rung;
// after that the ladder begins anew. A node that was cured kLemonRepairs times within kLemonWindow,
// whatever of, is a lemon and is replaced.
inline constexpr Duration kRecurrence = minutes(24 * 60);
inline constexpr Duration kLemonWindow = minutes(7 * 24 * 60);
inline constexpr std::uint32_t kLemonRepairs = 3;
// What is not back by then takes the next rung.
inline constexpr Duration kResetTimeout = minutes(2);
inline constexpr Duration kRebootTimeout = minutes(20);

struct Rung {
  Action action = Action::kNone;  // kResetDevice, kRebootNode or kReplaceNode
  std::string reason;             // why not the mildest; empty: it is the mildest
};

// REQUIRES: fault.action is one of the three. Pure.
[[nodiscard]] Rung choose_rung(const Fault& fault, const NodeHealth& health, Instant now);

// One up; kReplaceNode stays.
[[nodiscard]] Action next_rung(Action action);

// Takes the fault into the record: the entry of its kind, code and device, or a new one.
void keep_fault(NodeHealth& health, const Fault& fault, bool present, Instant now);
// A monitor says that it is over. False: nothing present was known of it.
bool clear_fault(NodeHealth& health, const std::string& kind, const std::string& device,
                 Instant now);
// Whether a fault that lasts keeps work away from the node; nullptr: none does.
[[nodiscard]] const Fault* present_obstacle(const NodeHealth& health);

}  // namespace holdfast
