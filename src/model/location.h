#pragma once

#include <string>

namespace holdfast {

// Where a node stands in the network, from far to near, as its provider or its environment names
// it. Empty: not known.
struct Location {
  std::string spine, rack, host;

  // What fails together, and is near: two nodes of one rack. `address` where no rack is known.
  [[nodiscard]] std::string failure_domain(const std::string& address) const {
    return rack.empty() ? address : spine + "/" + rack;
  }
  friend bool operator==(const Location&, const Location&) = default;
};

}  // namespace holdfast
