#include "apps/chaos_on_node.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include <spdlog/spdlog.h>

#include "io/files.h"

namespace holdfast {
namespace {

const RankLauncher::Rank* find_rank(const RankLauncher& launcher, JobId job, std::uint32_t rank) {
  for (const auto& [key, one] : launcher.ranks())
    if (key.job == job && key.rank == rank && one.pid != 0) return &one;
  return nullptr;
}

// The kernel's own line (mm/oom_kill.c), then the kill that it reports.
void kill_for_memory(const RankLauncher::Rank& rank, const std::string& kernel_log) {
  const pid_t pid = RankLauncher::training_pid(rank);
  const std::uint64_t kib = resident_bytes(pid) / 1024;
  const std::string line =
      "Memory cgroup out of memory: Killed process " + std::to_string(rank.pid) +
      " (python3) total-vm:" + std::to_string(kib * 4) + "kB, anon-rss:" + std::to_string(kib) +
      "kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:0kB oom_score_adj:0";
  if (const auto written = append_line(kernel_log, line); !written.ok())
    spdlog::warn("{}", written.error().text());
  kill_session(rank.pid, SIGKILL);
}

}  // namespace

void inject_here(const server_message::Inject& inject, RankLauncher& launcher,
                 const std::string& kernel_log) {
  spdlog::warn("chaos: {}", word_of(inject.what));
  const RankLauncher::Rank* rank = find_rank(launcher, inject.job, inject.rank);
  switch (inject.what) {
    case Injection::kRankKill:
      if (rank != nullptr)
        ::kill(RankLauncher::training_pid(*rank), inject.signal == 0 ? SIGKILL : inject.signal);
      return;
    case Injection::kHang:
      if (rank != nullptr) kill_session(rank->pid, SIGSTOP);
      return;
    case Injection::kOutOfMemory:
      if (rank != nullptr) kill_for_memory(*rank, kernel_log);
      return;
    case Injection::kKernelLog:
      if (const auto written = append_line(kernel_log, inject.line); !written.ok())
        spdlog::warn("{}", written.error().text());
      return;
    case Injection::kGpu:  // the agent's: its recorded machine
      return;
    case Injection::kNodeKill:
      launcher.signal_everything(SIGKILL);
      ::kill(::getpid(), SIGKILL);
      return;
    case Injection::kNodeFreeze:
      launcher.signal_everything(SIGSTOP);
      ::kill(::getpid(), SIGSTOP);
      // Thawed: the ranks of a real machine would run again at the same moment.
      launcher.signal_everything(SIGCONT);
      return;
  }
}

}  // namespace holdfast
