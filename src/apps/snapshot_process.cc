#include "apps/snapshot_process.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

#include "engine/checkpoint/snapshot_link.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/process.h"

namespace holdfast {
namespace {

constexpr int kListenerFd = 3, kIdentityFd = 4, kPeersFd = 5;
constexpr std::int64_t kShortLifeNs = 1'000'000'000;

// Its content, to be read by a child: a key belongs on no command line and in no environment.
Result<UniqueFd> readable(const std::string& text) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return os_error("cannot make", "a pipe", errno);
  UniqueFd read(ends[0]);
  const UniqueFd write(ends[1]);
  HF_TRY_VOID(write_all(write, "a pipe", text));  // a few KiB: they fit
  return read;
}

}  // namespace

SnapshotProcess::SnapshotProcess(std::string socket, std::string log_file, PeerIdentity identity,
                                 std::map<std::string, std::string> environment)
    : socket_(std::move(socket)),
      log_file_(std::move(log_file)),
      identity_(std::move(identity)),
      environment_(std::move(environment)) {
  auto listening = PeerTls::listen(identity_.address);
  if (!listening.ok()) {
    spdlog::warn("no snapshots for other nodes: {}", listening.error().text());
    identity_.address.clear();
    return;
  }
  auto [peers, address] = std::move(listening).value();
  peers_ = std::move(peers);
  identity_.address = address;
}

void SnapshotProcess::ensure() {
  if (pid_ != 0) return;
  if (!listener_) {
    const Result<int> listener = engine::SnapshotServer::listen(socket_);
    if (!listener.ok()) return spdlog::warn("no snapshot server: {}", listener.error().text());
    listener_ = UniqueFd(*listener);
  }
  const Result<pid_t> pid = start();
  started_ns_ = monotonic_ns();
  if (pid.ok()) {
    pid_ = *pid;
  } else {
    spdlog::warn("no snapshot server: {}", pid.error().text());
    listener_.reset();  // ranks are refused, and do not wait
  }
}

Result<pid_t> SnapshotProcess::start() const {
  HF_TRY(const UniqueFd identity, readable(write_peer_identity(identity_)));
  SpawnSpec spec{
      .argv = {"/proc/self/exe", "checkpoint", "serve", "--fd", std::to_string(kListenerFd)},
      .environment = environment_,
      .log_file = log_file_,
      .fds = {{listener_.get(), kListenerFd}},
      .death_signal = SIGKILL};
  if (peers_) {
    spec.argv.insert(spec.argv.end(), {"--identity-fd", std::to_string(kIdentityFd), "--peers-fd",
                                       std::to_string(kPeersFd)});
    spec.fds.emplace_back(identity.get(), kIdentityFd);
    spec.fds.emplace_back(peers_.get(), kPeersFd);
  }
  return spawn(spec);
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
