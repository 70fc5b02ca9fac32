#include "io/captured_run.h"

#include <signal.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/clock.h"

namespace holdfast {
namespace {

CapturedRun shell(const std::string& script, Duration budget = seconds(20)) {
  EXPECT_TRUE(become_subreaper().ok());
  auto run = run_captured(
      {.program = {.argv = {"/bin/sh", "-c", script}, .environment = own_environment()},
       .budget = budget});
  EXPECT_TRUE(run.ok()) << run.error().text();
  return run.ok() ? *run : CapturedRun{};
}

TEST(CapturedRun, OutputAndStatus) {
  const CapturedRun run = shell("echo out; echo err >&2; exit 3");
  EXPECT_EQ(run.output, "out\nerr\n");
  EXPECT_EQ(run.status.code, 3);
  EXPECT_FALSE(run.timed_out);
  EXPECT_EQ(shell("kill -9 $$").status.signal, SIGKILL);
}

TEST(CapturedRun, OneThatHangsIsKilledWhenItsTimeIsOver) {
  const CapturedRun run = shell("echo begins; trap '' TERM; sleep 1000", milliseconds(300));
  EXPECT_TRUE(run.timed_out);
  EXPECT_EQ(run.status.signal, SIGKILL);
  EXPECT_EQ(run.output, "begins\n");
}

TEST(CapturedRun, AFloodIsCutAndItsEndKept) {
  const CapturedRun run = shell("yes flood");
  EXPECT_TRUE(run.flooded);
  EXPECT_LE(run.output.size(), kOutputKept);
  const CapturedRun long_one = shell("yes line | head -c 1000000; echo; echo last");
  EXPECT_FALSE(long_one.flooded);
  EXPECT_THAT(long_one.output, testing::EndsWith("\nlast\n"));
  EXPECT_EQ(long_one.output.size(), kOutputKept);
}

// The pipe stays open in what it left behind; nobody waits for that, and it is dead.
TEST(CapturedRun, WhatForksAwayDiesWithIt) {
  const CapturedRun run = shell(
      "f=$(mktemp); setsid sh -c 'echo $$; echo >$0; exec sleep 1000' $f & until [ -s $f ]; do :; "
      "done; rm $f");
  EXPECT_EQ(run.status.code, 0);
  EXPECT_LT(run.took, seconds(15));
  const pid_t left = static_cast<pid_t>(std::stol(run.output));
  EXPECT_NE(::kill(left, 0), 0);
}

TEST(CapturedRun, AProgramThatIsNotThere) {
  const auto run = run_captured({.program = {.argv = {"/no/such/program"}}, .budget = seconds(1)});
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace holdfast
