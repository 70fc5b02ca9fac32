#include "io/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

namespace holdfast {

namespace {

Result<void> sync_folder_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const std::string folder = parent.empty() ? "." : parent;
  HF_TRY(const UniqueFd fd, open_file(folder, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return os_error("cannot sync", folder, errno);
  return {};
}

Result<void> write_durably(const std::string& path, std::string_view bytes, mode_t mode) {
  HF_TRY(const UniqueFd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, mode));
  HF_TRY_VOID(write_all(fd, path, bytes));
  if (::fchmod(fd.get(), mode) != 0) return os_error("cannot set the mode of", path, errno);
  if (::fsync(fd.get()) != 0) return os_error("cannot sync", path, errno);
  return {};
}

}  // namespace

Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return os_error("cannot open", path, errno);
  return fd;
}

Result<std::string> read_all(const UniqueFd& fd, const std::string& path, std::size_t max_bytes) {
  std::string bytes;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n == 0) return bytes;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("cannot read", path, errno);
    bytes.append(buffer, static_cast<std::size_t>(n));
    if (bytes.size() > max_bytes)
      return Error{Errc::kIo, path + " is larger than the " + std::to_string(max_bytes) +
                                  " bytes allowed; is it the right file?"};
  }
}

Result<void> write_all(const UniqueFd& fd, const std::string& path, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("cannot write", path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
  HF_TRY(const UniqueFd fd, open_file(path, O_RDONLY));
  return read_all(fd, path, max_bytes);
}

Result<void> write_file_atomic(const std::string& path, std::string_view bytes, mode_t mode) {
  const std::string temporary = path + ".tmp";
  // What a crash left there may have another mode, or be a link.
  ::unlink(temporary.c_str());
  Result<void> written = write_durably(temporary, bytes, mode);
  if (written.ok() && ::rename(temporary.c_str(), path.c_str()) != 0)
    written = os_error("cannot replace", path, errno);
  if (!written.ok()) {
    ::unlink(temporary.c_str());
    return written;
  }
  return sync_folder_of(path);
}

Result<void> append_line(const std::string& path, std::string_view line) {
  HF_TRY(const UniqueFd fd, open_file(path, O_WRONLY | O_CREAT | O_APPEND, 0640));
  return write_all(fd, path, std::string(line) + "\n");  // one write: O_APPEND keeps it together
}

Result<void> make_folder(const std::string& path, mode_t mode) {
  for (std::size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string folder = path.substr(0, end);
    if (::mkdir(folder.c_str(), mode) == 0 || errno == EEXIST) continue;
    return os_error("cannot make the folder", folder, errno);
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return os_error("cannot make the folder", path, errno);
  if (!S_ISDIR(status.st_mode)) return os_error("cannot make the folder", path, ENOTDIR);
  return {};
}

Result<void> remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return os_error("cannot remove", path, error.value());
  return {};
}

Result<void> rename_durably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    return os_error("cannot rename to " + to, from, errno);
  return sync_folder_of(to);
}

}  // namespace holdfast
