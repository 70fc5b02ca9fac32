#include "apps/probe_process.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include "base/os_error.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/process.h"
#include "io/unique_fd.h"

namespace holdfast {
namespace {

constexpr int kLinkFd = 3;
constexpr std::size_t kAnswerMax = 4 << 20;
// What is still there so long after SIGKILL, in the kernel, waits there for good.
constexpr std::int64_t kKillTakesNs = 30'000'000'000;
constexpr Duration kLookAgain = seconds(1);

}  // namespace

ProbeProcess::ProbeProcess(asio::io_context& context, Options options, OnAnswer on_answer,
                           OnLate on_late, OnSpawned on_spawned)
    : context_(context),
      options_(std::move(options)),
      on_answer_(std::move(on_answer)),
      on_late_(std::move(on_late)),
      on_spawned_(std::move(on_spawned)),
      link_(context),
      next_(context),
      deadline_(context) {}

Result<void> ProbeProcess::start() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return os_error("cannot make", "a socket pair", errno);
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  SpawnSpec spec{.argv = options_.argv,
                 .environment = options_.environment,
                 .log_file = options_.log_file,
                 .fds = {{theirs.get(), kLinkFd}},
                 .death_signal = SIGKILL};
  HF_TRY(pid_, spawn(spec));
  started_ = start_time(pid_);
  on_spawned_(pid_);
  link_.assign(ours.release());
  buffer_.clear();
  ++life_;
  return {};
}

void ProbeProcess::look() {
  if (!asked_) ask();
}

void ProbeProcess::stop() {
  ++life_;
  asked_ = false;
  next_.cancel();
  deadline_.cancel();
  if (link_.is_open()) link_.close();
  if (lingers()) ::kill(pid_, SIGKILL);
  pid_ = 0;
}

// It was told to die and has not: it waits in the kernel.
bool ProbeProcess::lingers() const {
  return pid_ != 0 && started_ && start_time(pid_) == started_ &&
         !process_state(pid_).starts_with("Z");
}

void ProbeProcess::ask() {
  if (!link_.is_open()) {
    if (lingers()) {
      const bool in_kernel = process_state(pid_).starts_with("D");
      if (!in_kernel || monotonic_ns() - killed_ns_ < kKillTakesNs) return wait(kLookAgain);
      const auto waits_in = read_file("/proc/" + std::to_string(pid_) + "/wchan", 256);
      on_late_(true, "process " + std::to_string(pid_) + " was killed and is still there: " +
                         process_state(pid_) + (waits_in.ok() ? " in " + *waits_in : ""));
      return wait(options_.interval);
    }
    if (const Result<void> started = start(); !started.ok()) {
      on_late_(false, started.error().text());
      return wait(options_.interval);
    }
  }
  asked_ = true;
  asio::error_code error;
  asio::write(link_, asio::buffer("?", 1), error);  // one byte: there is room for it
  if (error) return late("its process has ended");
  deadline_.expires_after(std::chrono::nanoseconds(options_.deadline.ns));
  deadline_.async_wait([this, life = life_](const asio::error_code& cancelled) {
    if (cancelled || life != life_ || !asked_) return;
    late("no answer within " + std::to_string(options_.deadline.ms()) + " ms, process " +
         std::to_string(pid_) + " is " + process_state(pid_));
  });
  read();
}

void ProbeProcess::read() {
  asio::async_read_until(link_, asio::dynamic_buffer(buffer_, kAnswerMax), '\n',
                         [this, life = life_](const asio::error_code& error, std::size_t size) {
                           if (life != life_) return;
                           if (error) return late("its process has ended in the middle of a look");
                           deadline_.cancel();
                           const std::string line = buffer_.substr(0, size - 1);
                           buffer_.erase(0, size);
                           asked_ = false;
                           wait(on_answer_(line));
                         });
}

void ProbeProcess::late(const std::string& why) {
  ++life_;
  asked_ = false;
  deadline_.cancel();
  if (link_.is_open()) link_.close();
  if (lingers()) ::kill(pid_, SIGKILL);
  killed_ns_ = monotonic_ns();
  on_late_(false, why);
  wait(options_.interval);
}

void ProbeProcess::wait(Duration how_long) {
  next_.expires_after(std::chrono::nanoseconds(how_long.ns));
  next_.async_wait([this](const asio::error_code& error) {
    if (!error) look();
  });
}

}  // namespace holdfast
