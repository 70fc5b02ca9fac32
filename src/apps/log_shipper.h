#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "apps/rank_launcher.h"
#include "io/file_tail.h"
#include "model/link.h"

namespace holdfast {

// Brings what the ranks print to the control plane, which keeps it. Sends from where the control
// plane has acknowledged, so nothing is lost when it restarts; at most a window is under way per
// rank, so a chatty rank does not crowd out heartbeats.
class LogShipper {
 public:
  // False: not connected.
  using Send = std::function<bool(const agent_message::LogChunk&)>;
  explicit LogShipper(Send send) : send_(std::move(send)) {}

  void add(const RankLauncher::Key& key, const std::string& log_file);
  // The rank is dead: its log is dropped from here when all of it is acknowledged.
  void ended(const RankLauncher::Key& key);
  void acknowledged(const server_message::LogAck& ack);
  // A new stream: what was under way is sent again.
  void reconnected();
  // Sends what is new. Call a few times a second, and before telling that a rank ended.
  void ship();

 private:
  struct Log {
    std::string path;
    FileTail tail;
    std::uint64_t sent = 0;
    std::uint64_t acknowledged = 0;
    bool ended = false;
    bool all_sent = false;
  };
  Send send_;
  std::map<RankLauncher::Key, Log> logs_;
};

}  // namespace holdfast
