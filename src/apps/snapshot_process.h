#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>

#include "apps/peer_tls.h"
#include "io/unique_fd.h"
#include "model/link.h"

namespace holdfast {

// The node's snapshot server (engine/checkpoint/snapshot_link.h) as a child of the agent: what
// ranks have put into its memory outlives them, and it writes behind what a rank left half-way. It
// ends with the agent. One thread.
class SnapshotProcess {
 public:
  // `socket` is where ranks reach it.
  // The identity's address is only a host; its port is chosen here.
  SnapshotProcess(std::string socket, std::string log_file, PeerIdentity identity,
                  std::map<std::string, std::string> environment);

  // Starts it if it does not run. Without it ranks use memory of their own.
  void ensure();
  // A child has ended. One that was the server is replaced at once, its memory lost, unless it did
  // not live for a second.
  void ended(pid_t pid);
  // The job has ended: its memory is free.
  void forget(JobId job);
  // 0: it does not run.
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Where those of other nodes reach it; empty: nowhere.
  [[nodiscard]] const std::string& address() const { return identity_.address; }

 private:
  [[nodiscard]] Result<pid_t> start() const;

  const std::string socket_;
  const std::string log_file_;
  PeerIdentity identity_;
  UniqueFd peers_;
  const std::map<std::string, std::string> environment_;
  UniqueFd listener_;
  pid_t pid_ = 0;
  std::int64_t started_ns_ = 0;
};

}  // namespace holdfast
