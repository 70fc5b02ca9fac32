#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace holdfast {

// How a host is restarted when it does not listen: by its management controller.
struct RedfishPower {
  std::string url;  // https://HOST[:PORT]
  std::string user;
  std::string password_file;
  std::string ca;  // PEM file that its certificate is checked against; empty: the system's
};
struct IpmiPower {
  std::string address;
  std::string user;
  std::string password_file;
};

// A machine that somebody has, and that can be reached over SSH.
struct InventoryHost {
  std::string name;
  std::string address;  // for SSH, and where other nodes reach it
  std::uint32_t port = 22;
  std::string user = "root";                 // another one needs `sudo` without a password
  std::string key;                           // private key file; empty: what ssh finds by itself
  std::string folder = "/var/lib/holdfast";  // of ours on it
  std::string instance_type;                 // may be empty
  std::string group;                         // the instance group that it is for; empty: any
  bool is_spare = false;                     // taken only when no other one is free
  std::string spine, rack;                   // where it stands in the network; may be empty
  std::variant<std::monostate, RedfishPower, IpmiPower> power;  // none: it is asked over SSH
};

struct Inventory {
  std::string known_hosts;  // the host keys, as ssh-keyscan writes them
  std::vector<InventoryHost> hosts;
};

}  // namespace holdfast
