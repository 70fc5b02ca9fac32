#include "io/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

#include "io/clock.h"
#include "io/files.h"
#include "io/process.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = 1 << 20;

TEST(OwnCgroups, AreFoundOnAV2Machine) {
  const OwnCgroups own = find_own_cgroups(
      "25 30 0:22 / /sys rw - sysfs sysfs rw\n"
      "35 25 0:29 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
      "0::/system.slice/holdfast.service\n");
  EXPECT_EQ(own.v2, "/sys/fs/cgroup/system.slice/holdfast.service");
  EXPECT_EQ(own.v2_top, "/sys/fs/cgroup");
  EXPECT_EQ(own.memory_v1, "");
}

TEST(OwnCgroups, AreFoundOnAHybridMachine) {
  const OwnCgroups own = find_own_cgroups(
      "35 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
      "7:cpu,cpuacct:/other\n4:memory:/user.slice\n0::/\n");
  EXPECT_EQ(own.memory_v1, "/sys/fs/cgroup/memory/user.slice");
  EXPECT_EQ(own.v2, "/sys/fs/cgroup/unified");
}

TEST(OwnCgroups, AreFoundInAContainer) {
  const OwnCgroups own = find_own_cgroups(
      "36 31 0:33 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
      "4:memory:/docker/abc/inner\n");
  EXPECT_EQ(own.memory_v1, "/sys/fs/cgroup/memory/inner");
  EXPECT_EQ(own.v2, "");
}

TEST(OwnCgroups, NoneIsNoneAndGarbageToo) {
  EXPECT_EQ(find_own_cgroups("", "").v2, "");
  EXPECT_EQ(find_own_cgroups("x - cgroup2\n - \n\n", "::\nx\n").memory_v1, "");
}

bool wait_for(const std::function<bool()>& condition) {
  for (const std::int64_t end = monotonic_ns() + seconds(20).ns; monotonic_ns() < end;) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return false;
}

class Cgroups : public ScratchFolder {
 protected:
  void SetUp() override {
    Result<NodeCgroup> node = NodeCgroup::open(cluster_, "n1");
    if (!node.ok()) GTEST_SKIP() << "no memory cgroups here: " << node.error().text();
    node_.emplace(std::move(*node));
  }
  void TearDown() override {
    if (!node_) return;
    ASSERT_TRUE(NodeCgroup::open(cluster_, "n1").ok());  // kills what a failed test left
    EXPECT_TRUE(node_->remove().ok());
    EXPECT_FALSE(std::filesystem::exists(node_->memory_folder()));
    EXPECT_FALSE(
        std::filesystem::exists(std::filesystem::path(node_->memory_folder()).parent_path()));
  }
  pid_t start(const RankCgroup& group, const std::string& script) {
    SpawnSpec spec;
    spec.argv = {"sh", "-c", script};
    spec.environment = {{"PATH", "/usr/bin:/bin"}};
    spec.working_folder = folder();
    spec.procs_files = group.procs_files();
    const auto pid = spawn(spec);
    EXPECT_TRUE(pid.ok()) << pid.error().text();
    return pid.ok() ? *pid : 0;
  }
  ExitStatus end_of(pid_t pid) {
    std::optional<ExitStatus> status;
    EXPECT_TRUE(wait_for([&] {
      for (const Reaped& one : reap())
        if (one.pid == pid) status = one.status;
      return status.has_value();
    }));
    return status.value_or(ExitStatus{});
  }
  // tail keeps a line that does not end.
  static std::string allocate(const std::string& size) {
    return "head -c " + size + " /dev/zero | tail > /dev/null";
  }

  const std::string cluster_ = "test-" + std::to_string(::getpid());
  std::optional<NodeCgroup> node_;
};

TEST_F(Cgroups, AProgramPastItsLimitIsKilledAndCounted) {
  RankCgroup group = std::move(node_->make("j1.a1.r0", 32 * kMiB).value());
  EXPECT_EQ(group.oom_kills(), 0u);
  EXPECT_EQ(end_of(start(group, allocate("4M"))).code, 0);
  EXPECT_EQ(group.oom_kills(), 0u);
  EXPECT_EQ(end_of(start(group, allocate("256M"))).code, 128 + SIGKILL);
  EXPECT_EQ(group.oom_kills(), 1u);
  EXPECT_GT(group.memory_peak_bytes(), 16 * kMiB);
  EXPECT_LE(group.memory_peak_bytes(), 32 * kMiB);
  EXPECT_TRUE(wait_for([&] { return group.kill_all(); }));
  EXPECT_TRUE(group.remove().ok());
  EXPECT_TRUE(group.remove().ok());
}

TEST_F(Cgroups, ALimitCanBeSetRaisedAndTakenAwayWhileItRuns) {
  RankCgroup group = std::move(node_->make("r0", 0).value());
  ASSERT_EQ(::mkfifo(path("go").c_str(), 0600), 0);
  const pid_t pid = start(group, "read line < go; " + allocate("64M"));
  for (const std::uint64_t limit : {256 * kMiB, 512 * kMiB, std::uint64_t{0}, 16 * kMiB})
    ASSERT_TRUE(group.set_memory_limit(limit).ok()) << limit;
  ASSERT_TRUE(append_line(path("go"), "go").ok());
  EXPECT_EQ(end_of(pid).code, 128 + SIGKILL);
  EXPECT_EQ(group.oom_kills(), 1u);
  ASSERT_TRUE(group.set_memory_limit(0).ok());
  EXPECT_EQ(end_of(start(group, allocate("64M"))).code, 0);
  EXPECT_TRUE(wait_for([&] { return group.kill_all(); }));
  EXPECT_TRUE(group.remove().ok());
}

TEST_F(Cgroups, KillsWhatLeftItsSession) {
  RankCgroup group = std::move(node_->make("r0", 0).value());
  EXPECT_TRUE(group.kill_all());
  const pid_t pid = start(group,
                          "mkfifo ready; setsid sh -c 'echo > ready; exec sleep 1000' & "
                          "read line < ready; kill -STOP $$");
  ASSERT_TRUE(wait_for([&] { return process_state(pid) == "T (stopped)"; }));
  EXPECT_FALSE(group.remove().ok());
  group.kill_all();
  EXPECT_EQ(end_of(pid).signal, SIGKILL);
  EXPECT_TRUE(wait_for([&] { return group.kill_all(); }));
  EXPECT_TRUE(group.remove().ok());
}

TEST_F(Cgroups, WhatAnEarlierAgentLeftIsKilledAndRemoved) {
  RankCgroup group = std::move(node_->make("r0", 0).value());
  const pid_t pid = start(group, "exec sleep 1000");
  ASSERT_TRUE(NodeCgroup::open(cluster_, "n1").ok());
  EXPECT_EQ(end_of(pid).signal, SIGKILL);
  EXPECT_FALSE(std::filesystem::exists(node_->memory_folder() + "/r0"));
  EXPECT_TRUE(node_->make("r0", 0).ok());
}

TEST_F(Cgroups, ALimitOnAGroupThatIsGoneIsAnError) {
  RankCgroup group = std::move(node_->make("r0", 0).value());
  ASSERT_TRUE(group.remove().ok());
  EXPECT_FALSE(group.set_memory_limit(kMiB).ok());
  EXPECT_EQ(group.oom_kills(), 0u);
  EXPECT_EQ(group.memory_peak_bytes(), 0u);
}

TEST(NodeCgroup, ANameThatIsNoFolderIsRefused) {
  EXPECT_EQ(NodeCgroup::open("a/b", "n1").error().code, Errc::kInvalidField);
  EXPECT_EQ(NodeCgroup::open("a", "..").error().code, Errc::kInvalidField);
}

}  // namespace
}  // namespace holdfast
