#include "apps/keeper_watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <spdlog/spdlog.h>

#include "io/process.h"

namespace holdfast {

KeeperWatch::KeeperWatch(asio::io_context& context, std::string state, int keeper)
    : state_(std::move(state)), keeper_(context) {
  watch(keeper);
}

void KeeperWatch::watch(int keeper) {
  Result<UniqueFd> fd = open_pidfd(keeper);
  if (!fd.ok()) return start_anew();
  keeper_.assign(fd->release());
  keeper_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](const asio::error_code& error) {
                       if (error) return;
                       // Our child, if we have started it.
                       static_cast<void>(reap_one(keeper_.native_handle()));
                       keeper_.close();
                       start_anew();
                     });
}

void KeeperWatch::start_anew() {
  spdlog::warn("the keeper of this server is gone; it is started again");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  const UniqueFd theirs(ends[0]);
  word_ = UniqueFd(ends[1]);
  constexpr int kTheirFd = 3;
  const Result<pid_t> keeper = spawn({.argv = {"/proc/self/exe", "server", "--keep", "--running-fd",
                                               std::to_string(kTheirFd), "--state", state_},
                                      .environment = own_environment(),
                                      .log_file = state_ + "/server.log",
                                      .fds = {{theirs.get(), kTheirFd}}});
  if (keeper.ok())
    watch(*keeper);
  else
    spdlog::error("{}", keeper.error().text());
}

void KeeperWatch::tell(int exit_status) {
  const auto word = static_cast<unsigned char>(exit_status);
  if (word_ && ::write(word_.get(), &word, 1) != 1) spdlog::warn("the keeper does not listen");
}

int last_word(int fd) {
  unsigned char word = 0;
  ssize_t n = 0;
  do n = ::read(fd, &word, 1);
  while (n < 0 && errno == EINTR);
  return n == 1 ? word : -1;
}

}  // namespace holdfast
