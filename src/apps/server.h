#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "model/cluster.h"

namespace holdfast {

// What `holdfast up` writes into a state folder and a server reads: DIR/cluster.json, and for deep
// checks DIR/checks.yaml (api/check_file.h), which a cluster takes when it is made. The ports are
// kept so that agents and clients find a restarted server.
struct ServerConfig {
  std::string uuid;
  ClusterSpec spec;
  std::string provider = "local";  // where machines come from: apps/providers.h
  // What local nodes watch (apps/device_watch.h). They share one host, so by default none watches
  // it.
  std::string devices = "auto";
  std::string host_root = "none";
  std::string host = "127.0.0.1";
  std::uint16_t link_port = 0;
  std::uint16_t api_port = 0;
};
Result<ServerConfig> read_server_config(const std::string& state);
Result<void> write_server_config(const std::string& state, const ServerConfig& config);

// Runs the control plane of the state folder until it is taken down. Returns its exit status.
// `keeper`: the process that starts it again when it dies, and is started again when it dies
// itself; 0: none.
Result<int> serve(const std::string& state, int keeper);

// Takes down the cluster of a folder whose control plane does not run: ends what is left of it.
Result<int> end_cluster(const std::string& state);

}  // namespace holdfast
