#pragma once

#include <string>
#include <string_view>

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

// The path of the first system, from the answer of /redfish/v1/Systems. kUnparsable.
[[nodiscard]] Result<std::string> read_redfish_systems(std::string_view answer);

struct RedfishReset {
  std::string path;  // of the action
  bool is_off = false;
};
// From the answer of a system. kUnparsable.
[[nodiscard]] Result<RedfishReset> read_redfish_system(std::string_view answer);

// Restarts the first system of the controller at once (ComputerSystem.Reset, ForceRestart; one that
// is off is switched on). Blocks. Its certificate must be good for the name in `url`. kUnavailable,
// kUnauthenticated, kUnparsable for an answer that is none of Redfish's.
[[nodiscard]] Result<void> redfish_restart(const RedfishTarget& target);

}  // namespace holdfast
