#include "core/diagnose/kernel_rules.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "core/diagnose/kernel_log.h"
#include "core/diagnose/message_pattern.h"

namespace holdfast {
namespace {

TEST(MessagePattern, CatchesDeviceAndProcessAndNeedsTheWholePattern) {
  const auto match = match_beginning("task *:% on @: x", "task a:b:42 on sd-a.1: xyz");
  ASSERT_TRUE(match);
  EXPECT_EQ(match->pid, 42);
  EXPECT_EQ(match->device, "sd-a.1");
  EXPECT_FALSE(match_beginning("task *:% on @: x", "task a:b:42 on sd-a.1: "));
  EXPECT_FALSE(match_beginning("took #s", "took s"));
  EXPECT_FALSE(match_beginning("%", "99999999999"));
  EXPECT_TRUE(match_beginning("a*", "a"));
}

TEST(KernelRules, EachIsCompleteAndCanBeFound) {
  for (const KernelRule& rule : kernel_rules()) {
    const std::string pattern(rule.pattern);
    EXPECT_FALSE(rule.kind.empty()) << pattern;
    EXPECT_FALSE(rule.meaning.empty()) << pattern;
    EXPECT_FALSE(rule.source.empty()) << pattern;
    EXPECT_NE(rule.action, Action::kReplaceNode) << pattern;
    EXPECT_TRUE(!rule.driver.empty() || !literal_head(rule.pattern).empty()) << pattern;
  }
}

// One message in the format of the source for each rule that is not an obvious variant of another.
// tidy: allow function, because it is a table
TEST(KernelRules, MessagesOfTheKernelAndItsDrivers) {
  struct Case {
    const char *line, *kind, *device;
    Action action;
  };
  constexpr auto kNone = Action::kNone;
  constexpr auto kReset = Action::kResetDevice;
  constexpr auto kReboot = Action::kRebootNode;
  constexpr auto kAsk = Action::kAskOperator;
  for (const Case& one : std::initializer_list<Case>{
           {"NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.", "gpu_lost", "0000:3b:00.0",
            kReboot},
           {"NVRM: GPU at PCI:0000:3b:00: GPU has fallen off the bus.", "gpu_lost", "0000:3b:00",
            kReboot},
           {"NVRM: GPU at PCI:0000:3b:00 has fallen off the bus.", "gpu_lost", "0000:3b:00",
            kReboot},
           {"NVRM: GPU 0000:3b:00.0: rm_init_adapter failed, device minor number 0", "gpu_init",
            "0000:3b:00.0", kAsk},
           {"nvidia 0000:3b:00.0: AER: PCIe Bus Error: severity=Uncorrected (Fatal), "
            "type=Inaccessible, (Unregistered Agent ID)",
            "aer", "0000:3b:00.0", kReset},
           {"pcieport 10000:e0:1b.0: AER: Corrected error received: 10000:e1:00.0", "aer",
            "10000:e1:00.0", kNone},
           {"pcieport 0000:00:1c.0: AER: Multiple Correctable error message received from "
            "0000:3b:00.0",
            "aer", "0000:3b:00.0", kNone},
           {"pcieport 0000:00:1c.0: AER: Uncorrected (Fatal) error message received from "
            "0000:3b:00.0",
            "aer", "0000:3b:00.0", kReset},
           {"pcieport 0000:00:03.0: DPC: containment event, status:0x1f01 source:0x0000", "aer",
            "0000:00:03.0", kReset},
           {"nvidia 0000:b9:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction "
            "Layer, (Receiver ID)",
            "aer", "0000:b9:00.0", kReset},
           {"pcieport 0000:00:01.0: PCIe Bus Error: severity=Corrected, type=Physical Layer", "aer",
            "0000:00:01.0", kNone},
           {"pcieport 0000:00:01.0: AER: Uncorrected (Non-Fatal) error received: 0000:17:00.0",
            "aer", "0000:17:00.0", kNone},
           {"pcieport 0000:00:01.0: AER: device recovery failed", "aer", "0000:00:01.0", kReset},
           {"EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0)",
            "edac", "MC0", kNone},
           {"EDAC MC1: 1 UE memory read error on unknown label", "edac", "MC1", kReboot},
           {"{1}[Hardware Error]: event severity: fatal", "mce", "", kReboot},
           {"[Hardware Error]: Corrected error, no action required.", "mce", "", kNone},
           {"Memory failure: 0x7f1234: Killing python3:4242 due to hardware memory corruption",
            "mce", "", Action::kRestartRanks},
           {"[Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 5: be00000000800400", "mce",
            "cpu3", kReboot},
           {"[Hardware Error]: Machine check events logged", "mce", "", kNone},
           {"Memory failure: 0x7f1234: Sending SIGBUS to python3:4242 due to hardware memory "
            "corruption",
            "mce", "", Action::kRestartRanks},
           {"Memory failure: 0x7f1234: recovery action for dirty LRU page: Recovered", "mce", "",
            kNone},
           {"Memory failure: 0x7f1234: recovery action for huge page: Failed", "mce", "", kReboot},
           {"Killed process 42 (python3), UID 1000, total-vm:9kB, anon-rss:8kB", "oom", "",
            Action::kRestartRanks},
           {"INFO: task python3:4242 blocked in I/O wait for more than 122 seconds.", "hung_task",
            "", kNone},
           {"BUG: soft lockup - CPU#3 stuck for 22s! [python3:4242]", "soft_lockup", "", kNone},
           {"BUG: workqueue lockup - pool cpus=3 node=0 flags=0x0 nice=0 stuck for 37s!",
            "workqueue_lockup", "", kNone},
           {"INFO: rcu_sched self-detected stall on CPU { 5}  (t=60000 jiffies", "rcu_stall", "",
            kNone},
           {"rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 3-.... } 21 jiffies",
            "rcu_stall", "", kNone},
           {"watchdog: CPU5: Watchdog detected hard LOCKUP on cpu 7", "hard_lockup", "", kReboot},
           {"EXT4-fs (sda1): I/O error while writing superblock", "filesystem", "sda1", kAsk},
           {"JBD2: Error -5 detected when updating journal superblock for sda1-8.", "filesystem",
            "sda1-8", kAsk},
           {"XFS (sda1): writeback error on inode 123, offset 0, sector 1234", "filesystem", "sda1",
            kAsk},
           {"XFS (sda1): xfs_do_force_shutdown(0x8) called from line 1234 of file x.c.",
            "filesystem", "sda1", kReboot},
           {"BTRFS info (device sda1 state E): forced readonly", "read_only", "sda1", kReboot},
           {"BTRFS: error (device sda1) in btrfs_commit_transaction:2323: errno=-5 IO failure",
            "filesystem", "sda1", kAsk},
           {"BTRFS error (device sda1): bdev /dev/sda1 errs: wr 1, rd 0, flush 0, corrupt 0, gen 0",
            "filesystem", "sda1", kAsk},
           {"LustreError: 167-0: fs-OST0003-osc-ffff9: This client was evicted by fs-OST0003; in",
            "lustre", "fs-OST0003-osc-ffff9", kNone},
           {"blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ)", "disk", "", kNone},
           {"critical target error, dev sda, sector 9 op 0x3:(DISCARD) flags 0x800", "disk", "sda",
            kNone},
           {"end_request: I/O error, dev sda, sector 123", "disk", "sda", kAsk},
           {"Buffer I/O error on device sda1, logical block 0", "disk", "sda1", kAsk},
           {"md/raid1:md0: Disk failure on sda1, disabling device.", "disk", "md0", kAsk},
           {"mlx5_core 0000:3b:00.0: Port module event: module 0, Cable unplugged", "mlx5",
            "0000:3b:00.0", kNone},
           {"mlx5_core 0000:3b:00.0: print_health_info:435:(pid 0): synd 0x1: firmware internal "
            "error",
            "mlx5", "0000:3b:00.0", kReset},
           {"mlx5_core 0000:3b:00.0: Health issue observed, FFSER error, severity(3) ERROR:",
            "mlx5", "0000:3b:00.0", kReset},
           {"mlx5_core 0000:3b:00.0: Health issue observed, High temperature, severity(2) CRIT:",
            "mlx5", "0000:3b:00.0", kNone},
           {"mlx5_core 0000:3b:00.0 ens1: TX timeout detected", "mlx5", "0000:3b:00.0", kNone},
           {"Critical temperature reached (105 C), shutting down.", "thermal", "", kAsk},
           {"INFO: task python3:4242 blocked for more than 120 seconds.", "hung_task", "", kNone},
           {"watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [python3:4242]", "soft_lockup", "",
            kNone},
           {"NMI watchdog: Watchdog detected hard LOCKUP on cpu 3", "hard_lockup", "", kReboot},
           {"rcu: INFO: rcu_sched self-detected stall on CPU", "rcu_stall", "", kNone},
           {"Kernel panic - not syncing: Attempted to kill init!", "panic", "", kReboot},
           {"EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: reading lblock 0",
            "filesystem", "sda1", kAsk},
           {"EXT4-fs (nvme0n1p2): Remounting filesystem read-only", "read_only", "nvme0n1p2",
            kReboot},
           {"Aborting journal on device sda1-8.", "read_only", "sda1-8", kReboot},
           {"XFS (dm-0): Corruption of in-memory data (0x8) detected at x. Shutting down "
            "filesystem",
            "filesystem", "dm-0", kReboot},
           {"XFS (dm-0): Metadata CRC error detected at xfs_agi_read_verify+0x5e", "filesystem",
            "dm-0", kAsk},
           {"nfs: server fs-1.local not responding, still trying", "nfs", "fs-1.local", kNone},
           {"nvme nvme0: I/O 258 QID 4 timeout, aborting", "nvme", "nvme0", kNone},
           {"nvme nvme0: I/O tag 12 (500c) opcode 0x2 (I/O Cmd) QID 4 timeout, aborting", "nvme",
            "nvme0", kNone},
           {"nvme nvme1: Removing after probe failure status: -19", "nvme", "nvme1", kReboot},
           {"blk_update_request: I/O error, dev sdb, sector 2048 op 0x0:(READ)", "disk", "sdb",
            kAsk},
           {"critical medium error, dev nvme0n1, sector 77 op 0x0:(READ)", "disk", "nvme0n1", kAsk},
           {"sd 0:0:0:0: [sda] tag#12 Sense Key : Medium Error [current] ", "scsi", "sda", kAsk},
           {"sd 0:0:0:0: rejecting I/O to offline device", "scsi", "0:0:0:0", kReboot},
           {"mlx5_core 0000:3b:00.0 ens1f0np0: Link down", "mlx5", "0000:3b:00.0", kNone},
           {"mlx5_core 0000:3b:00.0: poll_health:827:(pid 0): Fatal error 1 detected", "mlx5",
            "0000:3b:00.0", kReset},
           {"infiniband mlx5_0: dump_cqe:277:(pid 4242): dump error cqe", "infiniband", "mlx5_0",
            kNone},
           {"mce: CPU3: Core temperature is above threshold, cpu clock is throttled (total events "
            "= 1)",
            "thermal", "", kNone},
           {"thermal thermal_zone0: x86_pkg_temp: critical temperature reached", "thermal",
            "x86_pkg_temp", kAsk}}) {
    const auto finding = find_in_kernel_line(one.line);
    ASSERT_TRUE(finding) << one.line;
    EXPECT_EQ(finding->fault.kind, one.kind) << one.line;
    EXPECT_EQ(finding->fault.device, one.device) << one.line;
    EXPECT_EQ(finding->fault.action, one.action) << one.line;
  }
}

}  // namespace
}  // namespace holdfast
