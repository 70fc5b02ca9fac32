#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "io/unique_fd.h"

namespace holdfast {

// Which signed requests have been begun, for the next process: PATH (0600), a line
// "EXPIRES_S SIGNATURE" each, appended to before a request is carried out, and written anew without
// what has expired at open() and whenever most of it may have. Not synced: a process that dies
// loses nothing, and a machine that loses its power is away for longer than it takes to ask again.
// Any thread.
class SeenFile {
 public:
  static constexpr std::size_t kLinesMax = 65'536;

  // What is in it is in read(). A line that cannot be read, as one that was cut off, is passed
  // over.
  [[nodiscard]] static Result<std::unique_ptr<SeenFile>> open(const std::string& path, WallTime now,
                                                              std::size_t lines_max = kLinesMax);
  // By signature: when it expires.
  [[nodiscard]] const std::map<std::string, WallTime>& read() const { return read_; }

  // `signature`: without blanks. On an error (kIo, kDiskFull) it is not on record.
  [[nodiscard]] Result<void> append(const std::string& signature, WallTime expires, WallTime now);

 private:
  SeenFile(std::string path, std::size_t lines_max)
      : path_(std::move(path)), lines_max_(lines_max) {}
  [[nodiscard]] Result<std::map<std::string, WallTime>> unexpired(WallTime now) const;
  [[nodiscard]] Result<void> rewrite(const std::map<std::string, WallTime>& entries);

  const std::string path_;
  const std::size_t lines_max_;
  std::map<std::string, WallTime> read_;
  std::mutex mutex_;
  UniqueFd fd_;
  std::size_t lines_ = 0;  // in the file
};

}  // namespace holdfast
