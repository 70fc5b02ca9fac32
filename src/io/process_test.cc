#include "io/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/time.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

bool wait_for(const std::function<bool()>& condition) {
  for (const std::int64_t end = monotonic_ns() + seconds(20).ns; monotonic_ns() < end;) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return false;
}

class Processes : public ScratchFolder {
 protected:
  // Appends its output to log().
  SpawnSpec shell(const std::string& script) {
    SpawnSpec spec;
    spec.argv = {"sh", "-c", script};
    spec.environment = {{"PATH", "/usr/bin:/bin"}};
    spec.log_file = path("log");
    return spec;
  }
  Reaped run(const SpawnSpec& spec) {
    const auto pid = spawn(spec);
    EXPECT_TRUE(pid.ok()) << pid.error().text();
    return pid.ok() ? end_of(*pid) : Reaped{};
  }
  Reaped end_of(pid_t pid) {
    Reaped found;
    EXPECT_TRUE(wait_for([&] {
      for (const Reaped& one : reap())
        if (one.pid == pid) found = one;
      return found.pid == pid;
    }));
    return found;
  }
  std::string log() { return read_file(path("log"), 1 << 20).value(); }
};

TEST_F(Processes, RunsAProgramWithItsEnvironmentFolderAndLog) {
  ::setenv("HF_TEST_LEAK", "leaked", 1);
  SpawnSpec spec = shell("pwd; echo \"[$HF_TEST_LEAK$GIVEN]\"; echo oops >&2; cat; exit 3");
  spec.environment["GIVEN"] = "a b";
  spec.working_folder = folder();
  ASSERT_TRUE(append_line(path("log"), "before").ok());
  const Reaped ended = run(spec);
  EXPECT_EQ(ended.status.code, 3);
  EXPECT_EQ(ended.status.signal, 0);
  EXPECT_GT(ended.memory_peak_bytes, 100'000u);
  EXPECT_EQ(log(), "before\n" + folder() + "\n[a b]\noops\n");
}

TEST_F(Processes, TellsTheSignalThatEndedIt) {
  const Reaped ended = run(shell("kill -USR1 $$"));
  EXPECT_EQ(ended.status.signal, SIGUSR1);
}

TEST_F(Processes, ProgramsThatCannotRunAreErrorsThatSayWhy) {
  const auto error_of = [](const SpawnSpec& spec) {
    const auto pid = spawn(spec);
    return pid.ok() ? Error{Errc::kIo, "it runs"} : pid.error();
  };
  SpawnSpec spec = shell("");
  spec.argv = {"no-such-program", "x"};
  EXPECT_EQ(error_of(spec).code, Errc::kNotFound);
  EXPECT_THAT(error_of(spec).detail,
              HasSubstr("no-such-program: not found on PATH=/usr/bin:/bin; install it"));
  spec.argv = {"/no/such/program"};
  EXPECT_THAT(error_of(spec).detail, HasSubstr("no such file"));
  ASSERT_TRUE(write_file_atomic(path("script"), "#!/no/such/python\n", 0600).ok());
  spec.argv = {path("script")};
  EXPECT_THAT(error_of(spec).detail, HasSubstr("not executable"));
  ASSERT_EQ(::chmod(path("script").c_str(), 0700), 0);
  EXPECT_THAT(error_of(spec).detail, HasSubstr("interpreter in the #! line of " + path("script")));
  ASSERT_TRUE(write_file_atomic(path("script"), "echo hi\n", 0700).ok());
  EXPECT_THAT(error_of(spec).detail, HasSubstr("add a #! line"));
  spec = shell("");
  spec.working_folder = path("none");
  EXPECT_EQ(error_of(spec).detail, "cannot use the working folder " + path("none") +
                                       ": No such file or directory; check the path");
  spec = shell("");
  spec.log_file = path("none/log");
  EXPECT_THAT(error_of(spec).detail, HasSubstr(path("none/log")));
  spec = shell("");
  spec.procs_files = {"/dev/null", path("none/cgroup.procs")};
  EXPECT_THAT(error_of(spec).detail, HasSubstr("join the cgroup " + path("none/cgroup.procs")));
  spec.argv = {};
  EXPECT_EQ(error_of(spec).code, Errc::kInvalidField);
  EXPECT_THAT(reap(), testing::IsEmpty());
}

TEST_F(Processes, FindsTheProgramOnTheGivenPathOnly) {
  ASSERT_TRUE(make_folder(path("bin"), 0700).ok());
  ASSERT_TRUE(write_file_atomic(path("bin/sh"), "#!/bin/sh\nexit 42\n", 0700).ok());
  SpawnSpec spec = shell("exit 0");
  spec.environment["PATH"] = "/nowhere:" + path("bin") + ":/bin";
  EXPECT_EQ(run(spec).status.code, 42);
  spec.environment["PATH"] = path("none");
  EXPECT_FALSE(spawn(spec).ok());
}

TEST_F(Processes, HandsOverOnlyTheDescriptorsAskedFor) {
  int first[2], second[2];
  ASSERT_EQ(::pipe(first), 0);  // not close-on-exec, on purpose
  ASSERT_EQ(::pipe(second), 0);
  // Crossed over each other's and the pipe's likely numbers. By their paths: sh knows numbers of
  // one digit only, and whoever runs this test may have left us many open files.
  SpawnSpec spec =
      shell("echo one > /proc/$$/fd/" + std::to_string(second[1]) + "; echo two > /proc/$$/fd/" +
            std::to_string(first[1]) + "; ls -mv /proc/$$/fd");
  spec.fds = {{first[1], second[1]}, {second[1], first[1]}};
  EXPECT_EQ(run(spec).status.code, 0) << log();
  char text[4];
  ASSERT_EQ(::read(first[0], text, 4), 4);
  EXPECT_EQ(std::string(text, 4), "one\n");
  ASSERT_EQ(::read(second[0], text, 4), 4);
  EXPECT_EQ(std::string(text, 4), "two\n");
  std::string expected = "0, 1, 2, " + std::to_string(first[1]) + ", " + std::to_string(second[1]);
  EXPECT_EQ(log(), expected + "\n");
  for (const int fd : {first[0], first[1], second[0], second[1]}) ::close(fd);
}

TEST_F(Processes, StartsWithDefaultUnblockedSignals) {
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t term;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &term, nullptr);
  run(shell("grep -E 'Sig(Blk|Ign)' /proc/self/status"));
  ::pthread_sigmask(SIG_UNBLOCK, &term, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  EXPECT_EQ(log(), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(Processes, DiesWithTheProcessThatStartedIt) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    SpawnSpec spec = shell("echo ready; exec cat /dev/zero > /dev/null");
    spec.death_signal = SIGKILL;
    spec.fds = {{ends[1], ends[1]}};
    const auto child = spawn(spec);
    if (!child.ok() || ::write(ends[1], &*child, sizeof *child) < 0) ::_exit(1);
    for (;;) ::pause();
  }
  ::close(ends[1]);
  pid_t child = 0;
  ASSERT_EQ(::read(ends[0], &child, sizeof child), ssize_t{sizeof child});
  EXPECT_NE(process_state(child), "");
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  pollfd closed{ends[0], 0, 0};  // the child held the only other end
  EXPECT_EQ(::poll(&closed, 1, 20'000), 1);
  ::close(ends[0]);
}

TEST_F(Processes, KillsAWholeSession) {
  ASSERT_TRUE(become_subreaper().ok());
  // -m: each background job gets a process group of its own.
  SpawnSpec spec = shell("set -m; sleep 1000 & sleep 1000 & kill -STOP $$");
  spec.argv[0] = "bash";  // dash has no job control without a terminal
  spec.log_file.clear();
  const pid_t leader = *spawn(spec);
  ASSERT_EQ(::getsid(leader), leader);
  // A stopped leader reaps none of them in the moment of its own death.
  ASSERT_TRUE(wait_for(
      [&] { return process_state(leader) == "T (stopped)" && kill_session(leader, 0) == 3; }));
  EXPECT_EQ(kill_session(leader, SIGKILL), 3u);
  EXPECT_TRUE(wait_for([&] { return kill_session(leader, SIGKILL) == 0; }));
  std::size_t reaped = 0;
  EXPECT_TRUE(wait_for([&] {
    for (const Reaped& one : reap()) reaped += one.status.signal == SIGKILL;
    return reaped >= 3;  // the orphans came to us
  }));
}

TEST_F(Processes, LeavesOtherSessionsAlone) {
  SpawnSpec spec = shell("exec sleep 1000");
  const pid_t first = *spawn(spec), second = *spawn(spec);
  ASSERT_TRUE(wait_for([&] { return kill_session(second, 0) >= 1; }));
  kill_session(first, SIGKILL);
  EXPECT_EQ(end_of(first).status.signal, SIGKILL);
  EXPECT_GE(kill_session(second, 0), 1u);
  kill_session(second, SIGKILL);
  end_of(second);
}

TEST_F(Processes, KillsWhatLeftItsSessionAndLostItsParent) {
  ASSERT_TRUE(become_subreaper().ok());
  SpawnSpec spec = shell("setsid sh -c 'sleep 1000 & echo $!' & wait");
  const pid_t leader = *spawn(spec);
  end_of(leader);
  const auto orphan = static_cast<pid_t>(std::stol(log()));
  EXPECT_EQ(kill_session(leader, SIGKILL), 0u);
  EXPECT_EQ(kill_children({orphan}, SIGKILL), 0u);
  EXPECT_EQ(kill_children({}, SIGKILL), 1u);
  EXPECT_EQ(end_of(orphan).status.signal, SIGKILL);
}

TEST_F(Processes, KillsByTheEnvironmentItWasStartedWith) {
  SpawnSpec spec = shell("unset MARK; exec sleep 1000");
  spec.environment["MARK"] = "a";
  spec.environment["NODE"] = "n1";
  const pid_t marked = *spawn(spec);
  spec.environment["NODE"] = "n11";
  const pid_t other = *spawn(spec);
  const auto sleeps = [](pid_t pid) {
    return read_file("/proc/" + std::to_string(pid) + "/comm", 100).value() == "sleep\n";
  };
  ASSERT_TRUE(wait_for([&] { return sleeps(other); }));
  EXPECT_EQ(kill_marked({"NODE=n1", "MARK=a"}, 0), 0u) << "sleep no longer has MARK";
  EXPECT_EQ(kill_marked({"NODE=n", "PATH=/usr/bin:/bin"}, SIGKILL), 0u);
  EXPECT_EQ(kill_marked({"NODE=n1", "PATH=/usr/bin:/bin"}, SIGKILL), 1u);
  EXPECT_EQ(end_of(marked).status.signal, SIGKILL);
  EXPECT_EQ(kill_marked({"NODE=n11"}, SIGKILL), 1u);
  end_of(other);
}

TEST_F(Processes, TellsStateMemoryAndStartTime) {
  EXPECT_EQ(process_state(::getpid()), "R (running)");
  EXPECT_GT(resident_bytes(::getpid()), 1'000'000u);
  EXPECT_GE(peak_resident_bytes(::getpid()), resident_bytes(::getpid()));
  const pid_t child = *spawn(shell("kill -STOP $$"));
  EXPECT_TRUE(wait_for([&] { return process_state(child) == "T (stopped)"; }));
  EXPECT_GE(start_time(child), start_time(::getpid()));
  ::kill(child, SIGKILL);
  EXPECT_TRUE(wait_for([&] { return process_state(child) == "Z (zombie)"; }));
  EXPECT_EQ(resident_bytes(child), 0u);
  end_of(child);
  EXPECT_EQ(process_state(child), "");
  EXPECT_EQ(start_time(child), std::nullopt);
}

TEST_F(Processes, APidfdIsReadableAtTheEnd) {
  const pid_t child = *spawn(shell("kill -STOP $$; exit 5"));
  const UniqueFd fd = std::move(open_pidfd(child).value());
  pollfd end{fd.get(), POLLIN, 0};
  ASSERT_TRUE(wait_for([&] { return process_state(child) == "T (stopped)"; }));
  EXPECT_EQ(::poll(&end, 1, 0), 0);
  ::kill(child, SIGCONT);
  EXPECT_EQ(::poll(&end, 1, 20'000), 1);
  EXPECT_EQ(end_of(child).status.code, 5);
  EXPECT_FALSE(open_pidfd(child).ok());
}

TEST_F(Processes, CanBeStartedWhileOtherThreadsAllocate) {
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    while (!stop) std::string(1000, 'x').append(1000, 'y');
  });
  for (int i = 0; i < 50; ++i) EXPECT_EQ(run(shell("exit 7")).status.code, 7);
  stop = true;
  busy.join();
}

}  // namespace
}  // namespace holdfast
