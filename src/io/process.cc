#include "io/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "base/check.h"
#include "io/files.h"

namespace holdfast {

namespace {

// ---- Before the fork: everything that allocates ----

enum class Stage { kCgroup, kFolder, kDescriptor, kProgram };

// What the child says when it fails.
struct Failure {
  Stage stage;
  int number;
  int index;  // of the cgroup
};

// The child's view: C strings that live in the spec and in `storage`.
struct Prepared {
  std::vector<std::string> storage;
  std::vector<char*> argv;
  std::vector<char*> environment;
  std::vector<std::string> candidates;  // paths to try for the program
  UniqueFd null;
  UniqueFd log;
  UniqueFd failure_read, failure_write;
  std::vector<std::pair<int, int>> fds;
  int first_spare_fd = 3;  // above every target
  pid_t parent = 0;
};

std::vector<std::string> program_candidates(const SpawnSpec& spec) {
  const std::string& program = spec.argv[0];
  if (program.find('/') != std::string::npos) return {program};
  const auto found = spec.environment.find("PATH");
  const std::string path = found == spec.environment.end() ? "/usr/bin:/bin" : found->second;
  std::vector<std::string> candidates;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string folder = path.substr(begin, end - begin);
    candidates.push_back((folder.empty() ? "." : folder) + "/" + program);
    begin = end + 1;
  }
  return candidates;
}

Result<Prepared> prepare(const SpawnSpec& spec) {
  Prepared prepared;
  for (const auto& [name, value] : spec.environment) prepared.storage.push_back(name + "=" + value);
  for (std::string& entry : prepared.storage) prepared.environment.push_back(entry.data());
  prepared.environment.push_back(nullptr);
  for (const std::string& word : spec.argv) prepared.argv.push_back(const_cast<char*>(word.data()));
  prepared.argv.push_back(nullptr);
  prepared.candidates = program_candidates(spec);
  prepared.fds = spec.fds;
  for (const auto& [ours, target] : spec.fds)
    prepared.first_spare_fd = std::max(prepared.first_spare_fd, target + 1);

  HF_TRY(prepared.null, open_file("/dev/null", O_RDWR));
  if (!spec.log_file.empty()) {
    HF_TRY(prepared.log, open_file(spec.log_file, O_WRONLY | O_CREAT | O_APPEND, 0640));
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return os_error("cannot make", "a pipe", errno);
  prepared.failure_read = UniqueFd(ends[0]);
  prepared.failure_write = UniqueFd(ends[1]);
  prepared.parent = ::getpid();
  return prepared;
}

// ---- In the child: async-signal-safe calls only, for another thread may have held any lock ----

[[noreturn]] void fail(int pipe, Stage stage, int number, int index = 0) {
  const Failure failure{stage, number, index};
  [[maybe_unused]] const ssize_t ignored = ::write(pipe, &failure, sizeof failure);
  ::_exit(127);
}

void reset_signals() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &action, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void join_cgroups(const SpawnSpec& spec, int pipe) {
  for (std::size_t i = 0; i < spec.procs_files.size(); ++i) {
    const int fd = ::open(spec.procs_files[i].c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ::write(fd, "0", 1) != 1)  // 0: whoever writes it
      fail(pipe, Stage::kCgroup, errno, static_cast<int>(i));
    ::close(fd);
  }
}

// All descriptors but those wanted close at exec. Gives the pipe's new number.
int place_descriptors(Prepared& prepared) {
  const int spare = prepared.first_spare_fd;
  int pipe = prepared.failure_write.get();
  const auto out_of_the_way = [&](int fd) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, spare);
    if (copy < 0) fail(pipe, Stage::kDescriptor, errno);
    return copy;
  };
  // First above all targets, so that no target overwrites what is still needed.
  pipe = out_of_the_way(pipe);
  const int null = out_of_the_way(prepared.null.get());
  const int log = prepared.log ? out_of_the_way(prepared.log.get()) : null;
  for (auto& [ours, target] : prepared.fds) ours = out_of_the_way(ours);
  ::syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);  // an old kernel: ours have the flag
  if (::dup2(null, 0) < 0 || ::dup2(log, 1) < 0 || ::dup2(log, 2) < 0)
    fail(pipe, Stage::kDescriptor, errno);
  for (const auto& [ours, target] : prepared.fds)
    if (::dup2(ours, target) < 0) fail(pipe, Stage::kDescriptor, errno);
  return pipe;
}

[[noreturn]] void run_child(const SpawnSpec& spec, Prepared& prepared) {
  const int pipe = place_descriptors(prepared);
  if (spec.new_session) ::setsid();
  if (spec.death_signal != 0) {
    ::prctl(PR_SET_PDEATHSIG, spec.death_signal);
    // Only after this is a parent that ended before the prctl noticed.
    if (::getppid() != prepared.parent) ::_exit(127);
  }
  join_cgroups(spec, pipe);
  if (!spec.working_folder.empty() && ::chdir(spec.working_folder.c_str()) != 0)
    fail(pipe, Stage::kFolder, errno);
  reset_signals();
  int number = ENOENT;
  for (const std::string& candidate : prepared.candidates) {
    ::execve(candidate.c_str(), prepared.argv.data(), prepared.environment.data());
    if (errno != ENOENT && errno != ENOTDIR && number == ENOENT) number = errno;
  }
  fail(pipe, Stage::kProgram, number);
}

// ---- After the fork ----

Error program_error(const SpawnSpec& spec, const Prepared& prepared, int number) {
  const std::string& program = spec.argv[0];
  const std::string start = "cannot run " + program + ": ";
  if (number != ENOENT) {
    if (number == EACCES)
      return {Errc::kIo, start + "not executable; check its mode (chmod +x) and its folders'"};
    if (number == ENOEXEC)
      return {Errc::kIo, start + "not a program of this machine; for a script add a #! line"};
    if (number == E2BIG)
      return {Errc::kIo, start + "command and environment are too long; shorten them"};
    return os_error("cannot run", program, number);
  }
  for (std::string candidate : prepared.candidates) {
    if (candidate[0] != '/' && !spec.working_folder.empty())
      candidate = spec.working_folder + "/" + candidate;
    if (::access(candidate.c_str(), F_OK) == 0)
      return {Errc::kNotFound, start + "the interpreter in the #! line of " + candidate +
                                   " does not exist; correct the line or install it"};
  }
  if (program.find('/') != std::string::npos)
    return {Errc::kNotFound, start + "no such file; check the path (working folder: " +
                                 (spec.working_folder.empty() ? "." : spec.working_folder) + ")"};
  const auto path = spec.environment.find("PATH");
  return {Errc::kNotFound, start + "not found on PATH=" +
                               (path == spec.environment.end() ? "(not set)" : path->second) +
                               "; install it, or give its full path"};
}

Error spawn_error(const SpawnSpec& spec, const Prepared& prepared, const Failure& failure) {
  switch (failure.stage) {
    case Stage::kCgroup:
      return os_error("cannot join the cgroup",
                      spec.procs_files[static_cast<std::size_t>(failure.index)], failure.number);
    case Stage::kFolder:
      return os_error("cannot use the working folder", spec.working_folder, failure.number);
    case Stage::kDescriptor:
      return os_error("cannot hand descriptors to", spec.argv[0], failure.number);
    case Stage::kProgram:
      break;
  }
  return program_error(spec, prepared, failure.number);
}

// The value of a "Name:\tvalue" line of /proc/PID/status; empty: no such line or process.
std::string status_field(pid_t pid, std::string_view name) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/status", 1 << 16);
  if (!text.ok()) return {};
  const std::string key = "\n" + std::string(name) + ":";
  const std::size_t at = text->find(key);
  if (at == std::string::npos) return {};
  const std::size_t begin = text->find_first_not_of(" \t", at + key.size());
  return text->substr(begin, text->find('\n', begin) - begin);
}

std::uint64_t status_kilobytes(pid_t pid, std::string_view name) {
  return std::strtoull(status_field(pid, name).c_str(), nullptr, 10) * 1024;
}

// Field `number` of /proc/PID/stat, from 3 on: those that follow the command in parentheses, which
// may itself hold spaces and parentheses. Empty: no such process.
std::string stat_field(pid_t pid, int number) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 1 << 14);
  if (!text.ok()) return {};
  std::size_t at = text->rfind(')');
  for (int field = 2; field < number && at != std::string::npos; ++field)
    at = text->find(' ', at + 1);
  if (at == std::string::npos) return {};
  return text->substr(at + 1, text->find_first_of(" \n", at + 1) - at - 1);
}

}  // namespace

Result<pid_t> spawn(const SpawnSpec& spec) {
  CHECK(std::all_of(spec.fds.begin(), spec.fds.end(), [](auto& fd) { return fd.second >= 0; }));
  if (spec.argv.empty() || spec.argv[0].empty())
    return Error{Errc::kInvalidField, "command: empty; give a program to run"};
  HF_TRY(Prepared prepared, prepare(spec));

  // No handler of ours may run in the child: it would act on our behalf.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) run_child(spec, prepared);
  const int fork_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return os_error("cannot start a process for", spec.argv[0], fork_errno);

  prepared.failure_write.reset();
  Failure failure{};
  ssize_t n = 0;
  do n = ::read(prepared.failure_read.get(), &failure, sizeof failure);
  while (n < 0 && errno == EINTR);
  if (n != sizeof failure) return pid;  // the pipe closed at exec
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return spawn_error(spec, prepared, failure);
}

Result<void> become_subreaper() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
    return os_error("cannot become", "a subreaper", errno);
  return {};
}

namespace {

std::optional<Reaped> wait_for_any(int options) {
  int status = 0;
  rusage usage{};
  pid_t pid = 0;
  do {
    pid = ::wait4(-1, &status, options, &usage);
  } while (pid < 0 && errno == EINTR);
  if (pid <= 0) return std::nullopt;
  Reaped one{pid, {}, static_cast<std::uint64_t>(usage.ru_maxrss) * 1024};
  if (WIFSIGNALED(status))
    one.status.signal = WTERMSIG(status);
  else
    one.status.code = WEXITSTATUS(status);
  return one;
}

}  // namespace

std::vector<Reaped> reap() {
  std::vector<Reaped> ended;
  while (const auto one = wait_for_any(WNOHANG)) ended.push_back(*one);
  return ended;
}

std::optional<Reaped> wait_for_child() {
  return wait_for_any(0);
}

std::map<std::string, std::string> own_environment() {
  std::map<std::string, std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view pair(*entry);
    const auto equals = pair.find('=');
    if (equals != std::string_view::npos)
      environment[std::string(pair.substr(0, equals))] = pair.substr(equals + 1);
  }
  return environment;
}

std::string process_state(pid_t pid) {
  return status_field(pid, "State");
}

std::uint64_t resident_bytes(pid_t pid) {
  return status_kilobytes(pid, "VmRSS");
}

std::uint64_t peak_resident_bytes(pid_t pid) {
  return status_kilobytes(pid, "VmHWM");
}

std::optional<std::uint64_t> start_time(pid_t pid) {
  const std::string text = stat_field(pid, 22);
  std::uint64_t ticks = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), ticks).ec != std::errc()) return {};
  return ticks;
}

namespace {

// Sends `signal` to every process that is `wanted`; how many live ones there were.
template <class Wanted>
std::size_t kill_each(int signal, const Wanted& wanted) {
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), &::closedir);
  if (!proc) return 0;
  std::size_t found = 0;
  while (const dirent* entry = ::readdir(proc.get())) {
    const auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 1 || pid == ::getpid()) continue;
    // Held while we look, so that the signal reaches the one that was looked at.
    const Result<UniqueFd> fd = open_pidfd(pid);
    if (!fd.ok() || !wanted(pid)) continue;
    // A main thread may have ended before its others: then the process is no zombie.
    const bool ended = stat_field(pid, 3) == "Z" && stat_field(pid, 20) <= "1";
    if (::syscall(SYS_pidfd_send_signal, fd->get(), signal, nullptr, 0) == 0 && !ended) ++found;
  }
  return found;
}

}  // namespace

std::size_t kill_session(pid_t leader, int signal) {
  CHECK(leader > 1);
  return kill_each(signal, [session = std::to_string(leader)](pid_t pid) {
    return stat_field(pid, 6) == session;
  });
}

std::size_t kill_children(const std::set<pid_t>& except, int signal) {
  return kill_each(signal, [&, self = std::to_string(::getpid())](pid_t pid) {
    return stat_field(pid, 4) == self && !except.contains(pid);
  });
}

std::size_t kill_marked(const std::vector<std::string>& entries, int signal) {
  CHECK(!entries.empty());  // no entry at all is in every environment
  return kill_each(signal, [&](pid_t pid) {
    auto environment = read_file("/proc/" + std::to_string(pid) + "/environ", 4 << 20);
    if (!environment.ok() || environment->empty()) return false;
    environment->insert(0, 1, '\0');
    return std::all_of(entries.begin(), entries.end(), [&](const std::string& entry) {
      return environment->find('\0' + entry + '\0') != std::string::npos;
    });
  });
}

Result<UniqueFd> open_pidfd(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return os_error("cannot watch", "process " + std::to_string(pid), errno);
  return fd;
}

std::optional<ExitStatus> reap_one(int pidfd) {
  siginfo_t end{};
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &end, WEXITED | WNOHANG) != 0 || end.si_pid == 0)
    return std::nullopt;
  return end.si_code == CLD_EXITED ? ExitStatus{.code = end.si_status}
                                   : ExitStatus{.signal = end.si_status};
}

}  // namespace holdfast
