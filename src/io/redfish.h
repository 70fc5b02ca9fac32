#pragma once

#include <string>

#include "base/result.h"
#include "base/time.h"

namespace holdfast {

// A machine's management controller, as DMTF's Redfish (DSP0266) describes it.
struct RedfishTarget {
  std::string url;  // https://HOST[:PORT]
  std::string user;
  std::string password;
  std::string ca;  // PEM file; empty: the system's
  Duration patience = seconds(30);
};

// Restarts the first system of the controller at once (ComputerSystem.Reset, ForceRestart; one that
// is off is switched on). Blocks. Its certificate must be good for the name in `url`. kUnavailable,
// kUnauthenticated, kUnparsable for an answer that is none of Redfish's.
[[nodiscard]] Result<void> redfish_restart(const RedfishTarget& target);

}  // namespace holdfast
