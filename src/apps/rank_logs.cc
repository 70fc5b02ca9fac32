#include "apps/rank_logs.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "io/files.h"

namespace holdfast {
namespace {
constexpr std::uint64_t kLifecycleLogMax = 64 << 20;
}  // namespace

std::string RankLogs::path(JobId job, Attempt attempt, std::uint32_t rank) const {
  return folder_ + "/" + to_string(job) + "/" + to_string(attempt) + "/rank-" +
         std::to_string(rank) + ".log";
}

Result<void> RankLogs::write(NodeId node, const agent_message::LogChunk& chunk) {
  const std::string file =
      chunk.job ? path(chunk.job, chunk.attempt, chunk.rank) : lifecycle_path(node);
  if (!chunk.job &&
      (chunk.offset > kLifecycleLogMax || chunk.bytes.size() > kLifecycleLogMax - chunk.offset))
    return Error{Errc::kInvalidField, file + ": more than " +
                                          std::to_string(kLifecycleLogMax >> 20) +
                                          " MiB; the node has the rest"};
  HF_TRY_VOID(make_folder(file.substr(0, file.rfind('/')), 0700));
  HF_TRY(const UniqueFd fd, open_file(file, O_WRONLY | O_CREAT, 0600));
  std::size_t written = 0;
  while (written < chunk.bytes.size()) {
    const ssize_t n = ::pwrite(fd.get(), chunk.bytes.data() + written, chunk.bytes.size() - written,
                               static_cast<off_t>(chunk.offset + written));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("write", file, errno);
    written += static_cast<std::size_t>(n);
  }
  return {};
}

Result<std::string> RankLogs::read(JobId job, Attempt attempt, std::uint32_t rank,
                                   std::uint64_t offset, std::size_t max_bytes) const {
  return read_at(path(job, attempt, rank), offset, max_bytes);
}

Result<std::string> RankLogs::read_lifecycle(NodeId node, std::uint64_t offset,
                                             std::size_t max_bytes) const {
  return read_at(lifecycle_path(node), offset, max_bytes);
}

Result<std::string> RankLogs::read_at(const std::string& file, std::uint64_t offset,
                                      std::size_t max_bytes) {
  if (::access(file.c_str(), F_OK) != 0) return std::string();
  HF_TRY(const UniqueFd fd, open_file(file, O_RDONLY));
  std::string bytes(max_bytes, '\0');
  const ssize_t n = ::pread(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (n < 0) return os_error("read", file, errno);
  bytes.resize(static_cast<std::size_t>(n));
  return bytes;
}

}  // namespace holdfast
