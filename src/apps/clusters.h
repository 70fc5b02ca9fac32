#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <asio/io_context.hpp>

#include "apps/cluster_server.h"

namespace holdfast {

// The clusters that one server serves: the folder's own, and those made through the API. Each has a
// folder and a thread of its own, so that none waits for another.
//
// Making one is durable when its folder has its final name; ending one is, when its journal says
// so: what was cut off in between is brought to its end by the next start.
class Clusters {
 public:
  using Handle = std::shared_ptr<ClusterServer>;

  // `context` runs on the main thread and outlives this; the end of clusters is awaited there.
  Clusters(asio::io_context& context, std::string state);

  // Opens what the folder has. `serving`: they get their network and begin to work; else they are
  // only there to be taken down.
  Result<void> open(bool serving);
  // All stop; agents and ranks stay.
  void stop();

  // Any thread. nullptr: there is none.
  [[nodiscard]] Handle own() const;
  [[nodiscard]] Handle find(const std::string& name_or_id) const;
  [[nodiscard]] std::vector<Handle> all() const;  // by id
  // Makes and starts one. `spec` has its id. kNameExists.
  Result<Handle> make(const ClusterSpec& spec);
  // Ends one, and removes its folder when nothing of it is left. Idempotent.
  void end(const Handle& cluster, const std::string& by);
  // Ends all of them; `on_end` is called on the main thread. The folder's own keeps its state.
  void end_all(const std::string& by, std::function<void()> on_end);

 private:
  // Only from here on it has its hosts: see open().
  Result<Handle> open_one(const std::string& folder);
  Result<void> start(const Handle& cluster, bool serving);
  void forget(const Handle& cluster);
  [[nodiscard]] std::string folder_of(const std::string& id) const {
    return state_ + "/clusters/" + id;
  }

  asio::io_context& context_;
  const std::string state_;
  const std::shared_ptr<HostClaims> claims_ = std::make_shared<HostClaims>();
  mutable std::mutex mutex_;
  std::map<std::string, Handle> clusters_;  // by id; guarded
  std::set<std::string> ending_;            // ids of those that end(); guarded
  std::string own_;                         // its id
  std::mutex making_;                       // one at a time
};

}  // namespace holdfast
