#pragma once

// A scenario as a person writes it, in YAML. tests/scenario/ has the examples; every key but
// `name`, `duration`, `topology` and `jobs` may be left out:
//
//   name: rank-killed
//   about: A rank dies by SIGKILL.
//   duration: 10min                       # ns, us, ms, s, min, h, d; 1.5s is allowed
//   topology: {nodes: 4, spares: 1, accelerators_per_node: 8, nodes_per_rack: 8}
//   jobs:
//     - name: train
//       nodes: 4                          # or {min: 2, max: 4}
//       ranks_per_node: 8
//       step_time: 1s
//       checkpoint: {interval: 1min, stall: 200ms, write: 3s}
//   faults:                               # by chance
//     - name: gpu_hbm3
//       per_billion_hours: 3391
//       of: rank                          # rank, node, rack, switch, cluster
//       shows: {as: kernel_line, xid: 95, signal: 9, cause: accelerator, after: [1s, 10s]}
//   planned:                              # at a certain time
//     - {at: 2min, of: rank, first: 3, shows: {as: rank_exit, signal: 9}}
//   weak: [{name: lemons, per_mille: 50, factor: 19}]
//   spot, costs, network, policy, expect  # as in sim/scenario.h
//
// Durations that vary are one duration, or [least, most]. Nothing here touches a file system.

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "sim/scenario.h"

namespace holdfast::sim {

// `file` names the text in errors ("spot.yaml:3: ..."). The result has passed check_scenario().
[[nodiscard]] Result<Scenario> parse_scenario(std::string_view text, const std::string& file);

// What holds for every scenario that is run, wherever it comes from.
[[nodiscard]] Result<void> check_scenario(const Scenario& scenario);

// "250ms", "1.5s", "54d". Exact: no floating point. The error says what is allowed, not the field.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);

}  // namespace holdfast::sim
