#pragma once

// Where the machines of a cluster come from, as a person names it: `local` (every node a process of
// this host), `external` (somebody else starts them), `exec:FOLDER` (programs of the user's) or
// `ssh:INVENTORY` (machines that are there already). docs/providers.md.

#include <map>
#include <memory>
#include <string>

#include <asio/io_context.hpp>

#include "base/result.h"
#include "drivers/host_claims.h"
#include "drivers/machine_provider.h"

namespace holdfast {

struct ProviderSetting {
  std::string provider = "local";
  std::string cluster;                 // its uuid
  std::string nodes_folder;            // NODES/n3: what is kept here for a node
  std::string hosts_file;              // ssh: which host serves which node
  std::shared_ptr<HostClaims> claims;  // ssh: of all clusters of this process
  std::string ca_file;                 // PEM
  std::string server;                  // HOST:PORT of the control plane's link
  std::string devices;                 // what the agents watch; see AgentConfig
  std::string host_root;
  std::map<std::string, std::string> environment;  // of agents on this host, and of programs
};

// Whether there can be such a provider: its programs or its inventory are there and in order.
[[nodiscard]] Result<void> check_provider(const std::string& provider);

[[nodiscard]] Result<std::unique_ptr<MachineProvider>> make_provider(
    asio::io_context& context, const ProviderSetting& setting,
    MachineProvider::MakeToken make_token, MachineProvider::OnGone on_gone,
    MachineProvider::OnNoCapacity on_no_capacity);

}  // namespace holdfast
