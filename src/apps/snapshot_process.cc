#include "apps/snapshot_process.h"

#include <signal.h>

#include <spdlog/spdlog.h>

#include "engine/checkpoint/snapshot_link.h"
#include "io/clock.h"
#include "io/process.h"

namespace holdfast {
namespace {

constexpr int kTheirFd = 3;
constexpr std::int64_t kShortLifeNs = 1'000'000'000;

}  // namespace

void SnapshotProcess::ensure() {
  if (pid_ != 0) return;
  if (!listener_) {
    const Result<int> listener = engine::SnapshotServer::listen(socket_);
    if (!listener.ok()) return spdlog::warn("no snapshot server: {}", listener.error().text());
    listener_ = UniqueFd(*listener);
  }
  const Result<pid_t> pid =
      spawn({.argv = {"/proc/self/exe", "checkpoint", "serve", "--fd", std::to_string(kTheirFd)},
             .environment = environment_,
             .log_file = log_file_,
             .fds = {{listener_.get(), kTheirFd}},
             .death_signal = SIGKILL});
  started_ns_ = monotonic_ns();
  if (pid.ok())
    pid_ = *pid;
  else
    spdlog::warn("no snapshot server: {}", pid.error().text());
  if (!pid.ok()) listener_.reset();  // ranks are refused, and do not wait
}

void SnapshotProcess::ended(pid_t pid) {
  if (pid != pid_ || pid == 0) return;
  pid_ = 0;
  spdlog::warn("the snapshot server has ended; what was in memory is lost");
  if (monotonic_ns() - started_ns_ < kShortLifeNs) return listener_.reset();
  ensure();
}

void SnapshotProcess::forget(JobId job) {
  if (pid_ == 0) return;
  const auto told = engine::RemoteSnapshots::forget(socket_, to_string(job));
  if (!told.ok()) spdlog::warn("snapshot server: {}", told.error().text());
}

}  // namespace holdfast
