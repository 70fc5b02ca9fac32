#include "core/diagnose/kernel_log.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(KernelLog, XidNamesDeviceCodeAndProcess) {
  const auto fault = read_kernel_line(
      "[ 1234.5] NVRM: Xid (PCI:0000:b9:00): 79, pid='4242', name=python3, GPU has fallen off the "
      "bus.");
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->code, 79);
  EXPECT_EQ(fault->device, "0000:b9:00");
  EXPECT_EQ(fault->pid, 4242);
  EXPECT_EQ(fault->cause, CauseClass::kAccelerator);
  EXPECT_EQ(fault->action, Action::kReplaceNode);
}

TEST(KernelLog, UserCodeXidsTouchNoNode) {
  for (const char* code : {"13", "31", "43", "45"}) {
    const auto fault = read_kernel_line(std::string("NVRM: Xid (PCI:0000:01:00): ") + code + ", x");
    ASSERT_TRUE(fault.has_value());
    EXPECT_EQ(fault->action, Action::kNone) << code;
    EXPECT_EQ(fault->cause, CauseClass::kApplication) << code;
  }
}

TEST(KernelLog, AnUnknownXidAsksTheOperator) {
  const auto fault = read_kernel_line("NVRM: Xid (PCI:0000:01:00): 9999, something new");
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->action, Action::kAskOperator);
}

TEST(KernelLog, OutOfMemoryKillNamesTheVictimAndWhatItUsed) {
  for (const char* prefix : {"Out of memory", "Memory cgroup out of memory"}) {
    const auto fault = read_kernel_line(
        std::string(prefix) +
        ": Killed process 777 (python3) total-vm:9000kB, anon-rss:4096kB, file-rss:0kB");
    ASSERT_TRUE(fault.has_value());
    EXPECT_EQ(fault->kind, "oom_kill");
    EXPECT_EQ(fault->pid, 777);
    EXPECT_EQ(fault->used_bytes, 4096u * 1024);
  }
}

TEST(KernelLog, LookAlikesAndCutOffLinesSayNothing) {
  for (const char* line :
       {"", "NVRM: Xid ", "NVRM: Xid (PCI:0000:b9:00", "NVRM: Xid (PCI:0000:b9:00): ",
        "NVRM: Xid (PCI:0000:b9:00): 7", "NVRM: Xid (PCI:0000:b9:00): 79", "NVRM: Xid (): 79, x",
        "NVRM: Xid (PCI:0000:b9:00): 99999999999999, x", "Xid (PCI:0000:b9:00): 79, x",
        "Out of memory: Killed process ", "Out of memory: Killed process x (python3)",
        "usb 1-1: new high-speed USB device"}) {
    EXPECT_FALSE(read_kernel_line(line).has_value()) << line;
  }
}

}  // namespace
}  // namespace holdfast
