#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "model/cluster.h"

namespace holdfast {

// What decisions ask of all nodes at once, kept up to date node by node so that no event costs a
// scan. Derived from ClusterState and never written down: whoever changes a NodeRecord removes it
// from here before and adds it after. O(log nodes) each.
struct NodeIndex {
  NodeIndex() = default;
  explicit NodeIndex(const ClusterState& state);

  void add(const NodeRecord& node) { count(node, true); }
  void remove(const NodeRecord& node) { count(node, false); }
  // Of a cluster with this many places now.
  void set_places(std::uint32_t places);

  std::map<std::uint32_t, NodeId> free;  // by place: healthy and without a job
  std::set<NodeId> idle_spares;          // healthy, without place and job
  std::set<NodeId> live;                 // healthy or suspect
  std::set<std::uint32_t> empty_places;  // filled by nobody
  std::uint32_t places = 0;
  std::uint32_t provisioning = 0;  // or away to be repaired
  std::uint32_t checking = 0;      // held for deep checks
  // Of those that fill a place.
  std::uint32_t filled = 0, coming = 0, suspect = 0, busy = 0;

  [[nodiscard]] std::uint32_t coming_spares() const { return provisioning + checking - coming; }
  friend bool operator==(const NodeIndex&, const NodeIndex&) = default;

 private:
  void count(const NodeRecord& node, bool is_there);
};

}  // namespace holdfast
