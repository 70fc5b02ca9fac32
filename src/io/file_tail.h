#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/unique_fd.h"

namespace holdfast {

// Follows a growing file, from `offset`, as its bytes. A file that does not exist yet has nothing
// new. One that is cut short or replaced by another is read again from its beginning; the rest of a
// replaced one is read first.
class FileTail {
 public:
  struct Chunk {
    std::uint64_t offset = 0;  // of bytes[0] in the file
    std::string bytes;         // empty: nothing new
  };

  explicit FileTail(std::string path, std::uint64_t offset = 0)
      : path_(std::move(path)), offset_(offset) {}

  [[nodiscard]] Result<Chunk> read_new(std::size_t max_bytes);

 private:
  [[nodiscard]] Result<bool> reopen_if_replaced();

  std::string path_;
  std::uint64_t offset_;
  UniqueFd fd_;
};

// Follows a kernel log as lines without their newline: /dev/kmsg, whose record prefix is taken off,
// or a plain file. Only complete lines are given, cut at 4 KiB,
// as valid UTF-8.
class KernelLogTail {
 public:
  // kEnd: only what is written from now on. A file that appears later is read from its beginning.
  enum class Start { kBeginning, kEnd };

  KernelLogTail(std::string path, Start start);

  // What is new, at most about 1 MiB per call. Does not wait.
  [[nodiscard]] Result<std::vector<std::string>> read_lines();

  static constexpr std::size_t kLineMax = 4096;

 private:
  [[nodiscard]] Result<std::vector<std::string>> read_records();
  void take_lines(const std::string& bytes, std::vector<std::string>& lines);

  std::string path_;
  UniqueFd device_;  // open: path_ is a character device
  FileTail file_;
  std::uint64_t next_offset_ = 0;  // of what follows partial_
  std::string partial_;            // the beginning of a line that is not complete
};

}  // namespace holdfast
