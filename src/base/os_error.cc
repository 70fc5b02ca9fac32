#include "base/os_error.h"

#include <cerrno>
#include <system_error>

namespace holdfast {
namespace {

std::string_view remedy_for(int number) {
  switch (number) {
    case ENOSPC:
    case EDQUOT:
      return "free some space or raise the quota";
    case EACCES:
    case EPERM:
      return "check its owner and mode, and the user that this runs as";
    case EROFS:
      return "the file system is mounted read-only; use another folder";
    case ENOENT:
      return "check the path";
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
      return "something else stands at this path; move it away or use another path";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files (ulimit -n)";
    case EIO:
      return "the disk may be failing; see the kernel log";
    default:
      return "see the kernel log if it persists";
  }
}

}  // namespace

Error os_error(std::string_view action, const std::string& path, int number) {
  const Errc code = number == ENOSPC || number == EDQUOT ? Errc::kDiskFull
                    : number == ENOENT                   ? Errc::kNotFound
                                                         : Errc::kIo;
  std::string detail(action);
  detail += " " + path + ": " + std::generic_category().message(number) + "; ";
  detail += remedy_for(number);
  return {code, std::move(detail)};
}

}  // namespace holdfast
