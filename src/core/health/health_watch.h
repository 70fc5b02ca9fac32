#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "core/health/health_rules.h"

namespace holdfast {

// Turns readings of one machine into news: a fault when a rule has held for its number of looks, an
// end when it has not for as many. What is known already is not told again, unless its action or
// its severity changed. Pure, one thread.
class HealthWatch {
 public:
  struct News {
    std::vector<Fault> begun;
    std::vector<std::pair<std::string, std::string>> over;  // kind, device
  };

  News devices(Instant now, const DevicesReading& reading);
  News host(Instant now, const HostReading& reading);
  // A probe of devices (true) or of the host that did not answer in time. `stuck`: nor can it be
  // killed.
  News probe_late(bool of_devices, bool stuck, const std::string& evidence);

  // What holds and was told, for a control plane that may have missed it.
  [[nodiscard]] std::vector<Fault> present() const;

  // The machine's devices were reset: what they show from now on is news.
  void devices_reset();

 private:
  using Key = std::pair<std::string, std::string>;  // kind, device
  enum class Group { kDevices, kHost };
  struct Condition {
    Group group;
    Fault fault;
    std::uint32_t seen = 0;    // looks in a row
    std::uint32_t unseen = 0;  // looks in a row
    bool told = false;
  };

  News update(Group group, std::vector<Fault> holding);

  DevicesBaseline devices_;
  HostBaseline host_;
  std::optional<Instant> devices_at_, host_at_;
  std::map<Key, Condition> conditions_;
};

}  // namespace holdfast
