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

  // Any thread. nullptr: there is none. The folder's own is there as long as the server is, also
  // when it has been ended; then it is found no more.
  [[nodiscard]] Handle own() const { return own_; }
  [[nodiscard]] Handle find(const std::string& name_or_id) const;
  [[nodiscard]] std::vector<Handle> all() const;  // by id
  // Makes and starts one. `spec` has its id. kNameExists, and as check_room().
  Result<Handle> make(const ClusterSpec& spec);
  // Nodes that are processes of this machine, of all clusters but this one. Not on a loop's thread.
  [[nodiscard]] std::uint32_t local_nodes_beside(const Handle& cluster) const;
  // Whether this machine can be that many nodes and so many others, where nodes are its processes.
  // kTooFewNodes.
  [[nodiscard]] Result<void> check_room(const ClusterSpec& wanted, std::uint32_t others) const;
  // Ends one, and removes its folder when nothing of it is left. The folder's own keeps its state,
  // and stays ended until the server is taken down and started anew. Idempotent. kIo, kDiskFull.
  Result<void> end(const Handle& cluster, const std::string& by);
  // Ends all of them; `on_end` is called on the main thread. The folder's own keeps its state.
  void end_all(const std::string& by, std::function<void()> on_end);

 private:
  // Only from here on it has its hosts: see open().
  Result<Handle> open_one(const std::string& folder);
  Result<void> start(const Handle& cluster, bool serving);
  void forget(const Handle& cluster);
  Result<void> mark_own_deleted(bool deleted);
  [[nodiscard]] std::string folder_of(const std::string& id) const {
    return state_ + "/clusters/" + id;
  }

  asio::io_context& context_;
  const std::string state_;
  const std::shared_ptr<HostClaims> claims_ = std::make_shared<HostClaims>();
  mutable std::mutex mutex_;
  std::map<std::string, Handle> clusters_;  // by id; guarded
  std::set<std::string> ending_;            // ids of those that end(); guarded
  Handle own_;
  std::mutex making_;  // one at a time
};

}  // namespace holdfast
