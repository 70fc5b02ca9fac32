#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "io/unique_fd.h"
#include "model/progress.h"

namespace holdfast {

// A rank's progress page; python/holdfast/page.py has the layout. The writer is not trusted: what
// it writes can give wrong numbers, but no crash and no oversized or invalid text.
class ProgressPage {
 public:
  // Times are monotonic_ns(); 0: not yet.
  struct Reading {
    bool claimed = false;  // a process has written its magic; else everything is empty
    RankProgress progress;
    std::int64_t first_step_ns = 0;
    std::int64_t last_step_ns = 0;
    std::int64_t restored_ns = 0;
    std::int64_t committed_ns = 0;
    std::int64_t checkpoint_stall_ns = 0;
    std::int64_t checkpoint_errno = 0;
    std::uint64_t checkpoint_free_bytes = 0;
    std::int32_t pid = 0;        // of the writer; 0: none
    bool user_steps = false;     // the script tells its steps itself
    bool ended_cleanly = false;  // the main program ended without an exception
  };

  // Makes the file, 4096 zero bytes, in place of what is there. The file stays when the object
  // goes.
  static Result<ProgressPage> create(const std::string& path, std::uint32_t rank);

  // About 1 us. A step that is made meanwhile may show in parts; the next read has it whole. A page
  // that cannot be read is an empty one.
  [[nodiscard]] Reading read() const;

 private:
  ProgressPage(UniqueFd fd, std::uint32_t rank) : fd_(std::move(fd)), rank_(rank) {}

  // Read with pread(2), not mapped: a program that cuts its page short must not kill its agent.
  UniqueFd fd_;
  std::uint32_t rank_;
};

}  // namespace holdfast
