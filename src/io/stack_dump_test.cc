#include "io/stack_dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "io/files.h"
#include "io/process.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

TEST(KernelStacks, NamesEachThreadAndWhatItDoes) {
  std::mutex mutex;
  std::condition_variable changed;
  bool ready = false, stop = false;
  std::thread waiter([&] {
    ::pthread_setname_np(::pthread_self(), "data-loader");
    std::unique_lock lock(mutex);
    ready = true;
    changed.notify_all();
    changed.wait(lock, [&] { return stop; });
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return ready; });
  const std::string text = kernel_stacks(::getpid());
  EXPECT_THAT(text, HasSubstr("process " + std::to_string(::getpid()) + ": "));
  EXPECT_THAT(text, HasSubstr("\"data-loader\": "));
  EXPECT_THAT(text, HasSubstr("R (running)"));
  stop = true;
  changed.notify_all();
  lock.unlock();
  waiter.join();
}

TEST(KernelStacks, TellsWhereAProcessWaits) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  char byte = 0;
  if (child == 0) ::_exit(::read(ends[0], &byte, 1) < 0);
  while (process_state(child) != "S (sleeping)") std::this_thread::yield();
  const std::string text = kernel_stacks(child);
  EXPECT_THAT(text, HasSubstr("S (sleeping)"));
  const bool may_read = read_file("/proc/" + std::to_string(child) + "/stack", 1 << 16).ok();
  if (may_read) {
    EXPECT_THAT(text, testing::ContainsRegex("\n  [a-z_]*pipe_read\n"));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(kernel_stacks(child), "");
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace holdfast
