#pragma once

// Where hosts stand in the network, as Slurm's topology.conf says it:
//
//   SwitchName=r1 Nodes=gpu-[001-016,020],login1
//   SwitchName=r2 Nodes=gpu-[017-019]
//   SwitchName=s1 Switches=r[1-2]
//
// A host's rack is the switch that it hangs on, its spine the switch above that.

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/location.h"

namespace holdfast {

using Topology = std::map<std::string, Location, std::less<>>;  // by host name

inline constexpr std::size_t kTopologyFileMax = 8 << 20;  // of its bytes

// `file` names the text in errors. Anything that is not understood, a host on two switches and a
// switch that is nowhere are errors; comments (#), LinkSpeed and the case of keys mean nothing.
[[nodiscard]] Result<Topology> parse_topology_file(std::string_view text, const std::string& file);

// "a[1-2,07],b": a1, a2, a07, b; several brackets in one name are all combinations. At most
// 100,000.
[[nodiscard]] Result<std::vector<std::string>> expand_hostlist(std::string_view text);

// What the topology says of the host, by its name with or without its domain, where `known` says
// nothing.
[[nodiscard]] Location located(Location known, const Topology& topology);

}  // namespace holdfast
