#include "io/audit_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include <nlohmann/json.hpp>

#include "io/files.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::size_t kFieldMax = 256;

// "2026-11-25T18:00:00.123Z"
std::string utc_text(WallTime at) {
  const time_t when = at.ns / 1'000'000'000;
  struct tm parts = {};
  ::gmtime_r(&when, &parts);
  std::array<char, 32> text = {};
  ::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::string millis = std::to_string(at.ns / 1'000'000 % 1000);
  millis.insert(0, 3 - millis.size(), '0');
  return std::string(text.data()) + "." + millis + "Z";
}

std::string line_of(const AuditEntry& entry) {
  const auto cut = [](const std::string& text) { return text.substr(0, kFieldMax); };
  json line{{"time", utc_text(entry.at)},        {"request_id", entry.request_id},
            {"key_id", cut(entry.key_id)},       {"role", entry.role},
            {"operation", cut(entry.operation)}, {"cluster", cut(entry.cluster)},
            {"outcome", entry.outcome},          {"status", entry.status},
            {"address", cut(entry.address)}};
  if (entry.repeated) line["repeated"] = true;
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<std::unique_ptr<AuditLog>> AuditLog::open(const std::string& path, std::size_t bytes_max) {
  std::unique_ptr<AuditLog> log(new AuditLog(path, bytes_max));
  HF_TRY_VOID(log->reopen());
  return log;
}

Result<void> AuditLog::reopen() {
  HF_TRY(fd_, open_file(path_, O_RDWR | O_CREAT | O_APPEND, 0600));
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) return os_error("cannot look at", path_, errno);
  bytes_ = static_cast<std::size_t>(status.st_size);
  char last = '\n';
  if (bytes_ > 0 && ::pread(fd_.get(), &last, 1, status.st_size - 1) != 1)
    return os_error("cannot read", path_, errno);
  is_torn_ = last != '\n';
  return {};
}

Result<void> AuditLog::append(const AuditEntry& entry) {
  std::string line = line_of(entry);
  const std::lock_guard lock(mutex_);
  if (bytes_ > 0 && bytes_ + line.size() > bytes_max_) {
    const std::string old = path_ + ".1";
    if (::rename(path_.c_str(), old.c_str()) != 0) return os_error("cannot replace", old, errno);
    HF_TRY_VOID(reopen());
  }
  if (is_torn_) line.insert(0, "\n");
  const Result<void> written = write_all(fd_, path_, line);
  if (!written.ok()) {
    (void)reopen();  // it may have left a part of the line
    return written;
  }
  is_torn_ = false;
  bytes_ += line.size();
  return {};
}

}  // namespace holdfast
