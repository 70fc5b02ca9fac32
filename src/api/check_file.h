#pragma once

// What a person sets for deep checks, in YAML:
//
//   on_start: [InstanceStress, InstanceConnectivity]   # of each machine that comes
//   after_repair: [InstanceStress]                     # of one that was rebooted or reset
//   scripts: /opt/checks        # folder on each node; its programs are tests
//   load_s: 5                   # how long a test keeps its part busy
//   test_budget_s: 120          # a test that takes longer has failed
//   budget_s: 1800              # of all tests of a run together
//   floors:                     # the worst that passes, whatever the fleet does
//     - {instance_type: p5, test: memory_bandwidth, value: 100}   # "*": every type
//
// Every key may be left out. docs/checks.md has the tests and their units.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/check.h"

namespace holdfast {

// `file` names the text in errors.
[[nodiscard]] Result<DeepChecks> parse_check_file(std::string_view text, const std::string& file);

// The body of POST /v1/checks: {"nodes": ["n3"], "checks": ["InstanceStress"], "drain": false}.
// Without "checks" both kinds.
struct CheckRequest {
  std::vector<NodeId> nodes;
  std::vector<CheckKind> kinds;
  bool drain = false;
};
[[nodiscard]] Result<CheckRequest> parse_check_request(std::string_view body);

}  // namespace holdfast
