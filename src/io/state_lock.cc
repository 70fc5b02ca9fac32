#include "io/state_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "io/files.h"

namespace holdfast {

namespace {

constexpr std::size_t kTextMax = 4096;

// "123 (holdfast server --state x)"
std::string own_name() {
  std::string command;
  if (auto text = read_file("/proc/self/cmdline", 1 << 20); text.ok()) command = std::move(*text);
  while (!command.empty() && command.back() == '\0') command.pop_back();
  for (char& c : command)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  if (command.size() > 200) command = command.substr(0, 200) + "...";
  return std::to_string(::getpid()) + " (" + command + ")";
}

}  // namespace

Result<StateLock> StateLock::take(const std::string& folder) {
  const std::string path = folder + "/lock";
  HF_TRY(UniqueFd fd, open_file(path, O_RDWR | O_CREAT, 0600));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return os_error("cannot lock", path, errno);
    auto holder = read_all(fd, path, kTextMax);
    std::string name = holder.ok() ? holder->substr(0, holder->find('\n')) : "";
    if (name.empty()) name = "that is just starting";
    return Error{Errc::kStateLocked, "state folder " + folder + " is in use by process " + name +
                                         "; stop it, or use another state folder"};
  }
  if (::ftruncate(fd.get(), 0) != 0) return os_error("cannot write", path, errno);
  HF_TRY_VOID(write_all(fd, path, own_name() + "\n"));
  return StateLock(std::move(fd));
}

}  // namespace holdfast
