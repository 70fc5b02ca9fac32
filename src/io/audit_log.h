#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "io/unique_fd.h"

namespace holdfast {

// One call of the API that changed something, or was refused.
struct AuditEntry {
  WallTime at;
  std::string request_id;
  std::string key_id;  // as claimed, where the signature did not verify; empty: none was named
  std::string role;    // empty: the caller is not known
  std::string operation;
  std::string cluster;  // as the request names it
  std::string outcome;  // "ok", or the type of the error
  int status = 0;
  std::string address;
  bool repeated = false;  // of a request that had been carried out before
};

// PATH, one JSON object per line, 0600, appended to. At `bytes_max` it becomes PATH.1, in place of
// the one before. Not synced: a power cut may cost the last seconds. Any thread.
class AuditLog {
 public:
  static constexpr std::size_t kBytesMax = 64 << 20;

  [[nodiscard]] static Result<std::unique_ptr<AuditLog>> open(const std::string& path,
                                                              std::size_t bytes_max = kBytesMax);
  // What a request says is cut to 256 bytes a field. On an error (kIo, kDiskFull) the line is lost,
  // but none that is whole.
  [[nodiscard]] Result<void> append(const AuditEntry& entry);

 private:
  AuditLog(std::string path, std::size_t bytes_max)
      : path_(std::move(path)), bytes_max_(bytes_max) {}
  [[nodiscard]] Result<void> reopen();

  const std::string path_;
  const std::size_t bytes_max_;
  std::mutex mutex_;
  UniqueFd fd_;
  std::size_t bytes_ = 0;
  bool is_torn_ = false;  // the last line has no end: a write was cut short
};

}  // namespace holdfast
