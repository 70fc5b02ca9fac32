#include "io/state_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

class StateLocks : public ScratchFolder {};

TEST_F(StateLocks, TheSecondTakerIsToldWhoHoldsIt) {
  {
    auto lock = StateLock::take(folder());
    ASSERT_TRUE(lock.ok());
    const auto second = StateLock::take(folder());
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, Errc::kStateLocked);
    EXPECT_THAT(second.error().detail, HasSubstr("process " + std::to_string(::getpid()) + " ("));
    EXPECT_THAT(second.error().detail, HasSubstr(folder()));
  }
  EXPECT_TRUE(StateLock::take(folder()).ok());
}

TEST_F(StateLocks, EndsWithItsProcessHoweverItEnds) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto lock = StateLock::take(folder());
    ::raise(lock.ok() ? SIGKILL : SIGTERM);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_THAT(*read_file(path("lock"), 1000), HasSubstr(std::to_string(child)));
  EXPECT_TRUE(StateLock::take(folder()).ok());
}

TEST_F(StateLocks, IsNotInheritedByAProgram) {
  std::optional<StateLock> lock = std::move(StateLock::take(folder()).value());
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);  // the program holds it open until it is killed
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ready[1], 1);
    ::execl("/bin/sh", "sh", "-c", "echo; exec cat /dev/zero > /dev/null", nullptr);
    ::_exit(127);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);  // it runs
  lock.reset();
  EXPECT_TRUE(StateLock::take(folder()).ok());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(StateLocks, AMissingFolderIsNamed) {
  EXPECT_THAT(StateLock::take(path("none")).error().detail, HasSubstr(path("none")));
}

}  // namespace
}  // namespace holdfast
