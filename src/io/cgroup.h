#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace holdfast {

// This process's own cgroups as folders; an empty one: no such hierarchy, or it cannot be seen.
struct OwnCgroups {
  std::string memory_v1;
  std::string v2;
  std::string v2_top;  // the highest folder above `v2` that can be seen
};
// From the texts of /proc/self/mountinfo and /proc/self/cgroup.
[[nodiscard]] OwnCgroups find_own_cgroups(std::string_view mountinfo, std::string_view cgroup);

// The control groups of one rank. On a hybrid machine there are two: memory in the v1 hierarchy,
// and one in the v2 hierarchy for its atomic kill. Dropping the object leaves them: remove() them.
class RankCgroup {
 public:
  // For SpawnSpec::procs_files.
  [[nodiscard]] std::vector<std::string> procs_files() const;

  // 0: no limit. Works on a live group too; below its present use the kernel reclaims what it can
  // and then kills (v2) or refuses (v1: kIo, "Device or resource busy").
  Result<void> set_memory_limit(std::uint64_t bytes);

  // How often the kernel killed a process of it for memory.
  [[nodiscard]] std::uint64_t oom_kills() const;
  // Page cache included; 0: the kernel does not tell.
  [[nodiscard]] std::uint64_t memory_peak_bytes() const;

  // Sends SIGKILL to every process of it. True: none is left. Does not wait: call it again
  // until it is true.
  bool kill_all();

  // The group must be empty. Gone already is fine.
  Result<void> remove();

 private:
  friend class NodeCgroup;
  RankCgroup(std::string memory, std::string v2) : memory_(std::move(memory)), v2_(std::move(v2)) {}

  std::string memory_;  // folder of the group with the memory controller
  std::string v2_;      // the same one, or the one beside it; empty: none
};

// holdfast/CLUSTER/NODE/ in the machine's cgroup tree, as near to this process as the machine
// allows.
class NodeCgroup {
 public:
  // The error is the reason why ranks cannot have memory limits here: report it and go on without.
  // What an earlier agent of this node left in it is killed and removed.
  static Result<NodeCgroup> open(const std::string& cluster, const std::string& node);

  // `name` is one path element ("j1.a2.r3"). memory_limit_bytes 0: no limit.
  [[nodiscard]] Result<RankCgroup> make(const std::string& name, std::uint64_t memory_limit_bytes);

  // When its ranks are gone.
  Result<void> remove();

  // Of the hierarchies in use, for people: "/sys/fs/cgroup/memory/holdfast/a/n1".
  [[nodiscard]] const std::string& memory_folder() const { return memory_; }

 private:
  NodeCgroup(std::string memory, std::string v2) : memory_(std::move(memory)), v2_(std::move(v2)) {}

  std::string memory_;
  std::string v2_;  // as in RankCgroup
};

}  // namespace holdfast
