#pragma once

// The machines that the `ssh` provider may take, in YAML. docs/providers.md has an example.
//
//   known_hosts: known_hosts          # paths are relative to the file's folder
//   defaults: {user: root, key: id_ed25519, folder: /var/lib/holdfast}
//   hosts:
//     - {name: gpu-01, address: 10.0.0.11, instance_type: p5, group: workers, rack: r7,
//        power: {redfish: {url: "https://10.1.0.11", user: admin, password_file: bmc.pw, ca:
//        bmc.pem}}}
//     - {name: gpu-02, address: 10.0.0.12, spare: true}

#include <string>
#include <string_view>

#include "base/result.h"
#include "model/inventory.h"

namespace holdfast {

// `file` names the text in errors; `folder` is put before relative paths.
[[nodiscard]] Result<Inventory> parse_inventory_file(std::string_view text, const std::string& file,
                                                     const std::string& folder);

}  // namespace holdfast
