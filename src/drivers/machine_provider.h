#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/id.h"

namespace holdfast {

// What is wanted of a machine, besides that it joins as this node.
struct MachineWish {
  NodeId node;
  std::string group;                        // the instance group that it is for; may be empty
  std::vector<std::string> instance_types;  // in order of preference; empty: any
};

// Where the machines of a cluster come from. Every call is idempotent, returns at once and is made
// on the thread of the provider's io_context, from which what came of it is told too. The
// io_context outlives the provider and is not run without it.
//
// A machine that is told gone runs nothing of its node any more, as far as can be known from here.
class MachineProvider {
 public:
  // The machine of a node has ended, or could not be had; why. Never from inside another call.
  using OnGone = std::function<void(NodeId, const std::string& reason)>;
  // There is none to be had now: no failure of a machine, and nothing of it is there. It may be
  // provisioned again later. Never from inside another call.
  using OnNoCapacity = std::function<void(NodeId, const std::string& reason)>;
  // A password with which the new node may join, for a few minutes from the call on.
  using MakeToken = std::function<std::string(NodeId)>;

  MachineProvider() = default;
  MachineProvider(const MachineProvider&) = delete;
  MachineProvider& operator=(const MachineProvider&) = delete;
  virtual ~MachineProvider() = default;

  // Gets a machine whose agent joins, unless the node has one. Told through OnNoCapacity if there
  // is none.
  virtual void provision(const MachineWish& wish) = 0;
  // Takes on a machine that a provider before a restart got; tells it gone when it is.
  virtual void adopt(NodeId node) = 0;
  // Gives the machine back; told through OnGone.
  virtual void terminate(NodeId node) = 0;
  // The node is no member any more, although its machine may be there: what there is of it is given
  // back. Told through OnGone only if there was something.
  virtual void release(NodeId) {}
  // The machine stops and starts, and its agent joins anew. OnGone only if it cannot.
  virtual void reboot(NodeId node) = 0;
  // Gives all of them back, also those that nobody asked about since a restart. True: nothing is
  // left, and all was told; call it again until then.
  virtual bool end_everything() = 0;
};

}  // namespace holdfast
