#pragma once

#include <string>

#include "base/result.h"

namespace holdfast {

struct AgentConfig {
  std::string server;  // host:port
  std::string ca;      // PEM file
  std::string cluster;
  std::string folder;                 // of this node; holds join.token
  std::string address = "127.0.0.1";  // where other nodes reach this one
  std::string instance_type;          // what a person calls machines of this kind
  std::string spine, rack;            // where it stands in the network; may be empty
  std::string kernel_log;             // empty: FOLDER/kernel.log; a machine of its own: /dev/kmsg
  std::string devices = "auto";       // see DeviceWatch
  std::string host_root = "/";        // likewise
  double probe_interval_s = 10;
};

// Joins the cluster and runs ranks until the control plane sends it away. Returns the exit status.
Result<int> run_agent(const AgentConfig& config);

}  // namespace holdfast
