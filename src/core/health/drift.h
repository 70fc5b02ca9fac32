#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"

namespace holdfast {

// What runs on a node besides the jobs: "kernel", "nvidia_driver", "nccl", ... to its version.
using Software = std::map<std::string, std::string>;

struct Fingerprint {
  NodeId node;
  std::string group;  // nodes that should be alike
  Software software;
};

// Something that a node has otherwise than most of its group.
struct Difference {
  std::string what;
  std::string has;          // empty: it has none
  std::string others;       // what more than half of the group have; empty: none, likewise
  bool is_split = false;    // no version has more than half: `others` is the most frequent one
  std::uint32_t alike = 0;  // nodes of the group that have `others`
  std::uint32_t of = 0;

  // "nccl 2.18, where 7 of 8 of its kind have 2.20"
  [[nodiscard]] std::string text() const;
};

// How often each version is there among nodes that should be alike.
class SoftwareCounts {
 public:
  void add(const Software& software) { count(software, 1); }
  // REQUIRES: it was added.
  void remove(const Software& software) { count(software, ~0u); }

  // By name. Of two versions that are as frequent the later one counts as `others`.
  [[nodiscard]] std::vector<Difference> differences(const Software& software) const;
  [[nodiscard]] bool all_alike() const { return unlike_ == 0; }
  [[nodiscard]] bool is_empty() const { return nodes_ == 0; }
  friend bool operator==(const SoftwareCounts&, const SoftwareCounts&) = default;

 private:
  using Versions = std::map<std::string, std::uint32_t>;
  void count(const Software& software, std::uint32_t one);
  [[nodiscard]] bool is_alike(const Versions& versions) const;

  std::uint32_t nodes_ = 0;
  std::uint32_t unlike_ = 0;  // names of which not all nodes have the same
  std::map<std::string, Versions> versions_;
};

struct Drift {
  NodeId node;
  std::string group;
  Difference difference;
};

// By group, node and what.
[[nodiscard]] std::vector<Drift> find_drift(const std::vector<Fingerprint>& nodes);

}  // namespace holdfast
