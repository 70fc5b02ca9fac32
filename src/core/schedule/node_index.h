#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/health/drift.h"
#include "model/cluster.h"

namespace holdfast {

// What decisions ask of all nodes at once, kept up to date node by node so that no event costs a
// scan. Derived from ClusterState and never written down: whoever changes a NodeRecord removes it
// from here before and adds it after. O(log nodes) each.
struct NodeIndex {
  // The members of one instance group.
  struct Group {
    std::set<NodeId> idle_spares;          // healthy, without place and job
    std::set<std::uint32_t> empty_places;  // filled by nobody
    std::uint32_t live = 0;                // healthy or suspect
    std::uint32_t live_placed = 0;         // likewise, and they fill a place
    std::uint32_t coming = 0;              // being provisioned or repaired, or held for deep checks
    std::uint32_t coming_spares = 0;       // likewise, without a place
    std::uint32_t broken = 0;              // cordoned for as long as nobody asks for more
    std::set<NodeId> without_machine;      // NodeRecord::no_capacity; not among those that come

    [[nodiscard]] std::uint32_t members() const {
      return live + coming + static_cast<std::uint32_t>(without_machine.size());
    }
    friend bool operator==(const Group&, const Group&) = default;
  };

  NodeIndex() = default;
  explicit NodeIndex(const ClusterState& state);

  void add(const NodeRecord& node) { count(node, true); }
  void remove(const NodeRecord& node) { count(node, false); }
  // Besides add() and remove(), because it changes with a node's Hello only. Of gone nodes: none.
  void add_software(const NodeRecord& node);
  void remove_software(const NodeRecord& node);
  void add_place(std::uint32_t place, std::uint32_t group);
  // REQUIRES: nobody fills it.
  void remove_place(std::uint32_t place, std::uint32_t group);

  std::map<std::uint32_t, Group> groups;  // by number
  std::map<std::uint32_t, NodeId> free;   // by place: healthy and without a job
  std::map<std::uint32_t, NodeId> left;   // by place: see NodeRecord::left_place; gone ones too
  std::set<NodeId> idle_spares;           // of all groups
  std::set<NodeId> live;                  // healthy or suspect
  std::uint32_t provisioning = 0;         // or away to be repaired
  std::uint32_t checking = 0;             // held for deep checks
  // Of those that fill a place.
  std::uint32_t coming = 0, suspect = 0, busy = 0;

  // By group and instance type: nodes of one kind should have the same.
  std::map<std::pair<std::uint32_t, std::string>, SoftwareCounts> software;

  // Nodes that will fill a place: those that have one, and one spare for each empty one.
  [[nodiscard]] std::uint32_t coming_to_places() const;
  [[nodiscard]] std::uint32_t coming_to_places(std::uint32_t group) const;
  [[nodiscard]] bool has_drift() const;
  // In what the node differs from more than half of its kind.
  [[nodiscard]] std::vector<Difference> drift_of(const NodeRecord& node) const;
  // A group without members is as good as none.
  friend bool operator==(const NodeIndex& a, const NodeIndex& b);

 private:
  void count(const NodeRecord& node, bool is_there);
};

}  // namespace holdfast
