#pragma once

#include <map>
#include <mutex>
#include <string>

namespace holdfast {

// Which cluster of this process has which host: several may have one inventory, or several that
// name the same machines, and none takes a host that another one has. A host is its address and
// port. Any thread.
class HostClaims {
 public:
  // False: another cluster has it. Idempotent.
  [[nodiscard]] bool take(const std::string& host, const std::string& cluster) {
    const std::lock_guard lock(mutex_);
    return owners_.try_emplace(host, cluster).first->second == cluster;
  }
  // Nothing of the cluster runs there any more. Of another one's it changes nothing.
  void give_back(const std::string& host, const std::string& cluster) {
    const std::lock_guard lock(mutex_);
    if (const auto found = owners_.find(host); found != owners_.end() && found->second == cluster)
      owners_.erase(found);
  }
  void give_back_all(const std::string& cluster) {
    const std::lock_guard lock(mutex_);
    std::erase_if(owners_, [&](const auto& entry) { return entry.second == cluster; });
  }
  [[nodiscard]] bool is_of_another(const std::string& host, const std::string& cluster) const {
    const std::lock_guard lock(mutex_);
    const auto found = owners_.find(host);
    return found != owners_.end() && found->second != cluster;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> owners_;  // guarded
};

}  // namespace holdfast
