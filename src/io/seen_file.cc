#include "io/seen_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <string_view>

#include "io/files.h"

namespace holdfast {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::size_t kBytesMax = 32 << 20;

std::string line_of(const std::string& signature, WallTime expires) {
  // Rounded up: it is remembered for as long as it can be used.
  return std::to_string((expires.ns + kSecond - 1) / kSecond) + " " + signature + "\n";
}

}  // namespace

Result<std::unique_ptr<SeenFile>> SeenFile::open(const std::string& path, WallTime now,
                                                 std::size_t lines_max) {
  std::unique_ptr<SeenFile> file(new SeenFile(path, lines_max));
  if (::access(path.c_str(), F_OK) == 0) {
    HF_TRY(file->read_, file->unexpired(now));
  }
  HF_TRY_VOID(file->rewrite(file->read_));
  return file;
}

Result<std::map<std::string, WallTime>> SeenFile::unexpired(WallTime now) const {
  HF_TRY(const std::string text, read_file(path_, kBytesMax));
  std::map<std::string, WallTime> entries;
  std::string_view rest = text;
  for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    std::int64_t expires = 0;
    const char* const line_end = line.data() + line.size();
    const auto [at, error] = std::from_chars(line.data(), line_end, expires);
    if (error != std::errc{} || at == line_end || *at != ' ' || expires > INT64_MAX / kSecond)
      continue;
    if (WallTime{expires * kSecond} < now) continue;
    entries[std::string(at + 1, line_end)] = WallTime{expires * kSecond};
  }
  return entries;
}

Result<void> SeenFile::rewrite(const std::map<std::string, WallTime>& entries) {
  std::string text;
  for (const auto& [signature, expires] : entries) text += line_of(signature, expires);
  HF_TRY_VOID(write_file_atomic(path_, text, 0600));
  HF_TRY(fd_, open_file(path_, O_WRONLY | O_APPEND));
  lines_ = entries.size();
  return {};
}

Result<void> SeenFile::append(const std::string& signature, WallTime expires, WallTime now) {
  const std::lock_guard lock(mutex_);
  if (lines_ >= lines_max_) {
    HF_TRY(const auto entries, unexpired(now));
    HF_TRY_VOID(rewrite(entries));
  }
  ++lines_;
  // A full disk may have cut the line before off: it is not to spoil this one.
  return write_all(fd_, path_, "\n" + line_of(signature, expires));
}

}  // namespace holdfast
