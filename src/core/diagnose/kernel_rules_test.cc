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
