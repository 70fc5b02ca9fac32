#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/id.h"

namespace holdfast {

// What runs on a node besides the jobs: "kernel", "nvidia_driver", "nccl", ... to its version.
struct Fingerprint {
  NodeId node;
  std::string group;  // nodes that should be alike
  std::map<std::string, std::string> software;
};

// A node that has something else than most of its group.
struct Drift {
  NodeId node;
  std::string group;
  std::string what;
  std::string has;          // empty: it has none
  std::string others;       // what more than half of the group have; empty: none, likewise
  bool is_split = false;    // no version has more than half: `others` is the most frequent one
  std::uint32_t alike = 0;  // nodes of the group that have `others`
  std::uint32_t of = 0;
};

// By group, what and node. Of two versions that are as frequent the later one counts as `others`.
[[nodiscard]] std::vector<Drift> find_drift(const std::vector<Fingerprint>& nodes);

}  // namespace holdfast
