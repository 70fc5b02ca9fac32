#include "apps/commands/ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "io/files.h"

namespace holdfast {
namespace {

constexpr std::uint64_t kSizeMax = 1 << 30;

Result<void> check_target(const std::string& folder) {
  struct stat target {};
  struct stat root {};
  struct statvfs size {};
  if (::stat(folder.c_str(), &target) != 0 || ::stat("/", &root) != 0 ||
      ::statvfs(folder.c_str(), &size) != 0)
    return os_error("examine", folder, errno);
  if (target.st_dev == root.st_dev)
    return Error{Errc::kInvalidField, "--folder: '" + folder +
                                          "' is on the root file system; name a folder on a small "
                                          "one of its own, or say --force"};
  const std::uint64_t bytes = static_cast<std::uint64_t>(size.f_blocks) * size.f_frsize;
  if (bytes > kSizeMax)
    return Error{Errc::kInvalidField, "--folder: the file system of '" + folder + "' has " +
                                          std::to_string(bytes >> 20) +
                                          " MiB; name one of at most 1024 MiB, or say --force"};
  return {};
}

}  // namespace

Result<std::uint64_t> Ballast::fill() const {
  if (!force) HF_TRY_VOID(check_target(folder));
  const std::string path = folder + "/.holdfast-ballast";
  HF_TRY(const UniqueFd file, open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  struct statvfs size {};
  if (::fstatvfs(file.get(), &size) == 0) {
    // Fast where the file system can; what it cannot take is written below.
    const auto free_bytes = static_cast<off_t>(size.f_bavail * size.f_frsize);
    if (free_bytes > 0 && ::fallocate(file.get(), 0, 0, free_bytes) != 0) errno = 0;
  }
  // Large pieces first, then down to the last byte.
  const std::vector<char> zeros(1 << 20);
  for (std::size_t piece = zeros.size(); piece > 0;) {
    const ssize_t written = ::write(file.get(), zeros.data(), piece);
    if (written > 0) continue;
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno != ENOSPC && errno != EDQUOT) return os_error("write", path, errno);
    piece /= 2;
  }
  struct stat written {};
  if (::fstat(file.get(), &written) != 0) return os_error("examine", path, errno);
  return static_cast<std::uint64_t>(written.st_size);
}

Result<void> Ballast::remove() const {
  const std::string path = folder + "/.holdfast-ballast";
  if (::unlink(path.c_str()) != 0) return os_error("remove", path, errno);
  return {};
}

}  // namespace holdfast
