#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "model/cluster.h"

namespace holdfast {

// What a cluster's folder says about it: DIR/cluster.json, and for deep checks DIR/checks.yaml
// (api/check_file.h), which a cluster takes when it is made. The ports are kept so that agents and
// clients find a restarted server.
struct ServerConfig {
  std::string uuid;
  ClusterSpec spec;
  std::string provider = "local";  // where machines come from: apps/providers.h
  // What local nodes watch (apps/device_watch.h). They share one host, so by default none watches
  // it.
  std::string devices = "auto";
  std::string host_root = "none";
  // A folder BUCKET in it is what s3://BUCKET of lifecycle scripts means; others are asked of S3.
  std::string buckets;
  std::string host = "127.0.0.1";
  std::uint16_t link_port = 0;
  // Only of the folder's own cluster, not of those that were made through the API.
  std::uint16_t api_port = 0;       // our own commands: mTLS
  std::uint16_t hyperpod_port = 0;  // HyperPod's API
  bool deleted = false;             // through the API: it stays ended while the server goes on
};
Result<ServerConfig> read_server_config(const std::string& state);
Result<void> write_server_config(const std::string& state, const ServerConfig& config);

// What the ARNs of clusters say of where they are. Both are words of AWS's that mean nothing here.
inline constexpr const char* kRegion = "us-east-1";
inline constexpr const char* kAccount = "000000000000";

// An id as ARNs have it, [a-z0-9]{12}, that nobody else has.
[[nodiscard]] std::string new_arn_id();

// A free port for a new cluster's agents or clients on `host`, from `hint` on.
Result<std::uint16_t> free_server_port(const std::string& host, std::uint16_t hint);

}  // namespace holdfast
