#include "io/file_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "io/files.h"
#include "io/utf8.h"

namespace holdfast {

namespace {

constexpr std::size_t kReadMax = 1 << 20;

// "6,339,5140900,-;NET: text\n SUBSYSTEM=net\n" -> "NET: text". The lines after the first are the
// record's properties.
std::string message_of(std::string_view record) {
  record = record.substr(0, record.find('\n'));
  const std::size_t prefix = record.find(';');
  if (prefix != std::string_view::npos) record.remove_prefix(prefix + 1);
  return valid_utf8(record.substr(0, KernelLogTail::kLineMax));
}

}  // namespace

Result<bool> FileTail::reopen_if_replaced() {
  struct stat now {};
  if (::stat(path_.c_str(), &now) != 0) {
    if (errno == ENOENT) return false;
    return os_error("cannot read", path_, errno);
  }
  struct stat ours {};
  if (fd_ && ::fstat(fd_.get(), &ours) == 0 && ours.st_dev == now.st_dev &&
      ours.st_ino == now.st_ino)
    return false;
  if (fd_) offset_ = 0;
  Result<UniqueFd> opened = open_file(path_, O_RDONLY | O_NONBLOCK);
  if (!opened.ok() && opened.error().code == Errc::kNotFound) return false;  // gone again
  if (!opened.ok()) return opened.error();
  fd_ = std::move(*opened);
  return true;
}

Result<FileTail::Chunk> FileTail::read_new(std::size_t max_bytes) {
  Chunk chunk;
  if (!fd_) {
    HF_TRY([[maybe_unused]] const bool opened, reopen_if_replaced());
  }
  while (fd_) {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) return os_error("cannot read", path_, errno);
    if (static_cast<std::uint64_t>(status.st_size) < offset_) offset_ = 0;
    chunk.offset = offset_;
    chunk.bytes.resize(max_bytes);
    const ssize_t n =
        ::pread(fd_.get(), chunk.bytes.data(), max_bytes, static_cast<off_t>(offset_));
    chunk.bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0) return os_error("cannot read", path_, errno);
    offset_ += chunk.bytes.size();
    if (n > 0) break;
    HF_TRY(const bool replaced, reopen_if_replaced());
    if (!replaced) break;
  }
  return chunk;
}

KernelLogTail::KernelLogTail(std::string path, Start start) : path_(std::move(path)), file_(path_) {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) return;
  if (S_ISCHR(status.st_mode)) {
    device_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    // Relative to the log, not the file: SEEK_SET is its first record.
    ::lseek(device_.get(), 0, start == Start::kEnd ? SEEK_END : SEEK_SET);
  } else if (start == Start::kEnd) {
    file_ = FileTail(path_, static_cast<std::uint64_t>(status.st_size));
  }
}

Result<std::vector<std::string>> KernelLogTail::read_lines() {
  if (device_) return read_records();
  HF_TRY(const FileTail::Chunk chunk, file_.read_new(kReadMax));
  if (!chunk.bytes.empty() && chunk.offset != next_offset_) partial_.clear();
  next_offset_ = chunk.offset + chunk.bytes.size();
  std::vector<std::string> lines;
  take_lines(chunk.bytes, lines);
  return lines;
}

void KernelLogTail::take_lines(const std::string& bytes, std::vector<std::string>& lines) {
  const std::string_view rest = bytes;
  for (std::size_t begin = 0; begin < rest.size();) {
    const std::size_t end = rest.find('\n', begin);
    const std::string_view part = rest.substr(begin, end - begin);
    partial_ += part.substr(0, kLineMax - std::min(kLineMax, partial_.size()));
    if (end == std::string_view::npos) return;
    lines.push_back(valid_utf8(std::exchange(partial_, {})));
    begin = end + 1;
  }
}

Result<std::vector<std::string>> KernelLogTail::read_records() {
  std::vector<std::string> lines;
  char record[8192];  // the kernel's own limit; a larger one could not be read at all
  for (std::size_t total = 0; total < kReadMax;) {
    const ssize_t n = ::read(device_.get(), record, sizeof record);
    if (n < 0 && errno == EAGAIN) break;
    // EPIPE: the log ran over and we stand at its first record now.
    if (n < 0 && (errno == EPIPE || errno == EINTR)) continue;
    if (n < 0) return os_error("cannot read", path_, errno);
    if (n == 0) break;
    total += static_cast<std::size_t>(n);
    lines.push_back(message_of({record, static_cast<std::size_t>(n)}));
  }
  return lines;
}

}  // namespace holdfast
