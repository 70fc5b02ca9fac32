#include "core/health/health_watch.h"

#include <algorithm>
#include <set>

namespace holdfast {

HealthWatch::News HealthWatch::devices(Instant now, const DevicesReading& reading) {
  const Duration took = devices_at_ ? now - *devices_at_ : Duration{};
  devices_at_ = now;
  News news = update(Group::kDevices, judge_devices(devices_, reading, took));
  if (reading.error != 0 || !reading.has_library) return news;
  devices_.most = std::max(devices_.most, static_cast<std::uint32_t>(reading.devices.size()));
  for (const DeviceReading& device : reading.devices)
    if (device.error == 0 &&
        std::ranges::find(devices_.first, device.pci, &DeviceReading::pci) == devices_.first.end())
      devices_.first.push_back(device);
  devices_.last = reading.devices;
  return news;
}

HealthWatch::News HealthWatch::host(Instant now, const HostReading& reading) {
  const Duration took = host_at_ ? now - *host_at_ : Duration{};
  host_at_ = now;
  News news = update(Group::kHost, judge_host(host_, reading, took));
  if (!host_.first) host_.first = reading;
  host_.last = reading;
  return news;
}

HealthWatch::News HealthWatch::probe_late(bool of_devices, bool stuck,
                                          const std::string& evidence) {
  const Group group = of_devices ? Group::kDevices : Group::kHost;
  const std::string kind =
      std::string(of_devices ? "device_probe_" : "host_probe_") + (stuck ? "stuck" : "slow");
  // What was seen before cannot be seen now: it neither goes on nor ends.
  std::vector<Fault> holding;
  for (const auto& [key, condition] : conditions_)
    if (condition.group == group && condition.told) holding.push_back(condition.fault);
  std::erase_if(holding, [&](const Fault& one) { return one.kind == kind; });
  holding.push_back(fault_of(kind, "", evidence));
  return update(group, std::move(holding));
}

HealthWatch::News HealthWatch::update(Group group, std::vector<Fault> holding) {
  News news;
  std::set<Key> held;
  for (Fault& fault : holding) {
    Key key{fault.kind, fault.device};
    Condition& condition = conditions_.try_emplace(key, Condition{group, fault}).first->second;
    const bool changed = condition.fault.action != fault.action;
    condition.fault = std::move(fault);
    condition.unseen = 0;
    ++condition.seen;
    held.insert(std::move(key));
    if (condition.seen < health_rule(condition.fault.kind)->looks) continue;
    if (condition.told && !changed) continue;
    condition.told = true;
    news.begun.push_back(condition.fault);
  }
  for (auto it = conditions_.begin(); it != conditions_.end();) {
    Condition& condition = it->second;
    const bool goes_on = condition.group != group || held.contains(it->first);
    const std::uint32_t looks = health_rule(condition.fault.kind)->looks;
    if (goes_on || (condition.told && ++condition.unseen < looks)) {
      ++it;
      continue;
    }
    if (condition.told) news.over.push_back(it->first);
    it = conditions_.erase(it);
  }
  return news;
}

std::vector<Fault> HealthWatch::present() const {
  std::vector<Fault> faults;
  for (const auto& [key, condition] : conditions_)
    if (condition.told) faults.push_back(condition.fault);
  return faults;
}

void HealthWatch::devices_reset() {
  devices_.last.clear();
  std::erase_if(conditions_,
                [](const auto& entry) { return entry.second.group == Group::kDevices; });
}

}  // namespace holdfast
