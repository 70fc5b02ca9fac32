#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "model/link.h"

namespace holdfast {

// The control plane's copy of what ranks print, JOBS/j1/a2/rank-0.log, and of what the lifecycle
// scripts of nodes print, NODES/n3/lifecycle.log. A chunk is written at its own offset, so one that
// comes twice changes nothing. Not synced to disk: the node keeps the original.
class RankLogs {
 public:
  RankLogs(std::string jobs, std::string nodes)
      : folder_(std::move(jobs)), nodes_(std::move(nodes)) {}

  Result<void> write(NodeId node, const agent_message::LogChunk& chunk);
  // At most `max_bytes` from `offset`; empty when there is nothing (yet).
  Result<std::string> read(JobId job, Attempt attempt, std::uint32_t rank, std::uint64_t offset,
                           std::size_t max_bytes) const;
  Result<std::string> read_lifecycle(NodeId node, std::uint64_t offset,
                                     std::size_t max_bytes) const;

 private:
  [[nodiscard]] std::string path(JobId job, Attempt attempt, std::uint32_t rank) const;
  [[nodiscard]] std::string lifecycle_path(NodeId node) const {
    return nodes_ + "/" + to_string(node) + "/lifecycle.log";
  }
  static Result<std::string> read_at(const std::string& file, std::uint64_t offset,
                                     std::size_t max_bytes);
  std::string folder_, nodes_;
};

}  // namespace holdfast
