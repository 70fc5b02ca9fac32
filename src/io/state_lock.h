#pragma once

#include <string>

#include "base/result.h"
#include "io/unique_fd.h"

namespace holdfast {

// Exclusive use of a state folder, for as long as the object lives: ends with the process, however
// it ends, and is not inherited by the programs that it starts.
class StateLock {
 public:
  // kStateLocked, naming the process that holds it. The folder must exist.
  static Result<StateLock> take(const std::string& folder);

 private:
  explicit StateLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace holdfast
