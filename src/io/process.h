#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/unique_fd.h"

namespace holdfast {

// This process's own environment.
[[nodiscard]] std::map<std::string, std::string> own_environment();

struct SpawnSpec {
  std::vector<std::string> argv;                   // argv[0] is looked up on environment's PATH
  std::map<std::string, std::string> environment;  // all of it: nothing is inherited
  std::string working_folder;                      // empty: the caller's
  std::string log_file;  // stdout and stderr are appended to it; empty: /dev/null
  // {ours, the child's}; 0 takes the place of /dev/null, 1 and 2 of log_file. No other is
  // inherited.
  std::vector<std::pair<int, int>> fds;
  bool new_session = true;  // its pid is then its session and process group too
  // Sent to the child when the *thread* that called spawn() ends, so call it from one that lasts;
  // 0: none. The child's own children do not inherit it.
  int death_signal = 0;
  std::vector<std::string> procs_files;  // cgroups to join before the program starts
};

// Returns once the program runs, or with the reason why it cannot (kNotFound: no such program or
// folder). Signals are at their defaults and not blocked. Safe in a process
// with threads. Call it on the thread that calls reap(), which could otherwise see a failed child.
[[nodiscard]] Result<pid_t> spawn(const SpawnSpec& spec);

// From here on orphaned descendants become our children and are seen by reap().
[[nodiscard]] Result<void> become_subreaper();

struct ExitStatus {
  int code = 0;    // meaningless when signal != 0
  int signal = 0;  // 0: it exited by itself
};
struct Reaped {
  pid_t pid = 0;
  ExitStatus status;
  std::uint64_t memory_peak_bytes = 0;  // resident, of its largest process
};
// All children that have ended; does not wait.
[[nodiscard]] std::vector<Reaped> reap();

// Waits until a child ends; nullopt: there is none.
[[nodiscard]] std::optional<Reaped> wait_for_child();

// "T (stopped)"; empty: no such process.
[[nodiscard]] std::string process_state(pid_t pid);
// 0: no such process, or a zombie.
[[nodiscard]] std::uint64_t resident_bytes(pid_t pid);
[[nodiscard]] std::uint64_t peak_resident_bytes(pid_t pid);
// In clock ticks since the machine started: {pid, start_time} names one process for ever.
[[nodiscard]] std::optional<std::uint64_t> start_time(pid_t pid);

// Sends `signal` to every process of the session, whatever its process group, and returns how many
// live ones it found. With SIGKILL, call it again until 0: a process may fork while we look.
// What made a session of its own is out of reach: use a cgroup. Call it before the leader is
// reaped, or its pid may be another's.
std::size_t kill_session(pid_t leader, int signal);

// The same for our own children but these: after become_subreaper() also for what left its session
// and lost its parent.
std::size_t kill_children(const std::set<pid_t>& except, int signal);

// The same for every process of this machine that was started with all of these NAME=VALUE in its
// environment, wherever it has gone since. This process is left out.
std::size_t kill_marked(const std::vector<std::string>& entries, int signal);

// Readable when the process has ended.
[[nodiscard]] Result<UniqueFd> open_pidfd(pid_t pid);
// How the child of such a descriptor ended, once; it is reaped, and no other. nullopt: it has not
// ended, is none of our children, or was reaped before. Does not wait.
[[nodiscard]] std::optional<ExitStatus> reap_one(int pidfd);

}  // namespace holdfast
