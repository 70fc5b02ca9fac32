#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/check.h"

namespace holdfast {

// Programs of the user's that make a fresh machine a node of its group.
struct LifecycleScripts {
  std::string source;            // a folder of the control plane's host, or s3://BUCKET/PREFIX
  std::string on_create;         // the program in it that runs; empty: none
  std::string on_init_complete;  // likewise, afterwards; HyperPod knows either, here both may be

  friend bool operator==(const LifecycleScripts&, const LifecycleScripts&) = default;
};

// Nodes that are alike: what a cluster is made of.
struct InstanceGroup {
  std::uint32_t number = 0;  // given by the controller, for ever; 0: not yet
  std::string name;
  std::uint32_t count = 0;      // places that jobs may use
  std::uint32_t count_min = 0;  // so many filled ones are enough for the group to be in service
  std::uint32_t spares = 0;     // healthy nodes besides, held in its warm pool
  std::vector<std::string> instance_types;  // in order of preference, as the provider knows them
  LifecycleScripts lifecycle;
  std::vector<CheckKind> checks_on_start;  // deep checks of each machine that comes
  // The JSON object that asked for it, for what is only kept and shown (roles, volumes, networks,
  // images, labels); what has a field above is read from there.
  std::string specification;
};

}  // namespace holdfast
