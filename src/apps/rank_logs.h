#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "model/link.h"

namespace holdfast {

// The control plane's copy of what ranks print: JOBS/j1/a2/rank-0.log. A chunk is written at its
// own offset, so one that comes twice changes nothing. Not synced to disk: the node keeps the
// original.
class RankLogs {
 public:
  explicit RankLogs(std::string folder) : folder_(std::move(folder)) {}

  Result<void> write(const agent_message::LogChunk& chunk);
  // At most `max_bytes` from `offset`; empty when there is nothing (yet).
  Result<std::string> read(JobId job, Attempt attempt, std::uint32_t rank, std::uint64_t offset,
                           std::size_t max_bytes) const;

 private:
  [[nodiscard]] std::string path(JobId job, Attempt attempt, std::uint32_t rank) const;
  std::string folder_;
};

}  // namespace holdfast
