#include "io/captured_run.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/os_error.h"
#include "io/clock.h"

namespace holdfast {
namespace {

constexpr Duration kDeathMax = seconds(5);  // from SIGKILL on; longer: it is stuck in the kernel

class Capture {
 public:
  explicit Capture(UniqueFd pipe) : pipe_(std::move(pipe)) {}

  [[nodiscard]] int fd() const { return pipe_.get(); }
  [[nodiscard]] bool is_open() const { return is_open_; }
  [[nodiscard]] bool flooded() const { return seen_ > kOutputMax; }

  // What is there now.
  void read_some() {
    char buffer[64 << 10];
    while (is_open_ && !flooded()) {
      const ssize_t n = ::read(pipe_.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return;
      if (n == 0) is_open_ = false;
      seen_ += static_cast<std::uint64_t>(n);
      kept_.append(buffer, static_cast<std::size_t>(n));
      if (kept_.size() > 2 * kOutputKept) kept_.erase(0, kept_.size() - kOutputKept);
    }
  }
  std::string take() {
    if (kept_.size() > kOutputKept) kept_.erase(0, kept_.size() - kOutputKept);
    return std::move(kept_);
  }

 private:
  UniqueFd pipe_;
  bool is_open_ = true;
  std::uint64_t seen_ = 0;
  std::string kept_;
};

// The leader's session first, while its pid is its own; then whatever else came of it.
std::optional<Reaped> end_everything(pid_t leader) {
  std::optional<Reaped> found;
  const std::int64_t deadline = monotonic_ns() + kDeathMax.ns;
  bool alive = true;
  while (alive && monotonic_ns() < deadline) {
    if (!found) kill_session(leader, SIGKILL);
    alive = kill_children({}, SIGKILL) > 0;
    for (const Reaped& reaped : reap())
      if (reaped.pid == leader) found = reaped;
    alive = alive || !found;
    if (alive) ::poll(nullptr, 0, 2);
  }
  return found;
}

}  // namespace

Result<CapturedRun> run_captured(const CapturedSpec& spec) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return os_error("cannot make", "a pipe", errno);
  Capture capture{UniqueFd(ends[0])};
  UniqueFd write_end(ends[1]);
  ::fcntl(capture.fd(), F_SETFL, O_NONBLOCK);
  SpawnSpec program = spec.program;
  program.log_file.clear();
  program.fds = {{write_end.get(), 1}, {write_end.get(), 2}};
  const std::int64_t began = monotonic_ns();
  HF_TRY(const pid_t pid, spawn(program));
  write_end = UniqueFd();
  HF_TRY(const UniqueFd ended, open_pidfd(pid));

  CapturedRun run;
  const std::int64_t deadline = began + spec.budget.ns;
  for (;;) {
    pollfd fds[2] = {{ended.get(), POLLIN, 0}, {capture.fd(), POLLIN, 0}};
    const std::int64_t left = deadline - monotonic_ns();
    const int wait = static_cast<int>(std::clamp<std::int64_t>(left / 1'000'000 + 1, 0, 1000));
    ::poll(fds, capture.is_open() ? 2 : 1, wait);
    capture.read_some();
    run.flooded = capture.flooded();
    if (run.flooded || (fds[0].revents & POLLIN) != 0) break;
    run.timed_out = monotonic_ns() >= deadline;
    if (run.timed_out) break;
  }
  const std::optional<Reaped> reaped = end_everything(pid);
  run.status = reaped ? reaped->status : ExitStatus{.signal = SIGKILL};
  capture.read_some();
  run.output = capture.take();
  run.took = {monotonic_ns() - began};
  return run;
}

}  // namespace holdfast
