#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "model/cluster.h"

namespace holdfast {

struct UpRequest {
  std::string state;               // folder, made if it is not there
  ClusterSpec spec;                // name, nodes, spares, machines_max, breaker_percent
  bool spec_given = false;         // the person asked for a size: an existing cluster must have it
  std::uint16_t api_port = 0;      // 0: a free one
  std::string devices = "auto";    // of its nodes: auto, none, recorded:FILE
  std::string host;                // likewise: none, /, or a folder; empty: by the provider
  std::string provider = "local";  // of its machines: apps/providers.h
  bool provider_given = false;     // by the person: an existing cluster must have it
  std::string address;             // that the control plane listens on; empty: 127.0.0.1
  std::string checks;              // for checks.yaml of a new cluster; empty: no such file
  std::string topology;            // likewise for topology.conf
};

// Makes the folder a cluster's, if it is none yet: CA, operator's certificate, the first access key
// (client/credentials), cluster.json (last, so that an `up` that was cut off half-way is done
// again). kWrongState for a cluster of another size or provider, kStateCorrupt for a folder that is
// somebody else's.
Result<void> prepare_state(const UpRequest& request);

// Starts the server of the folder and starts it again whenever it dies, until it is taken down or
// says that starting again would not help. Returns its exit status. `running_fd`: a server runs
// already, and tells on it how it ends (keeper_watch.h); -1: none does.
Result<int> keep_serving(const std::string& state, int running_fd);

}  // namespace holdfast
