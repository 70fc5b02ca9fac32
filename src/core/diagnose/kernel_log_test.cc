#include "core/diagnose/kernel_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/diagnose/kernel_rules.h"

namespace holdfast {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

Fault found(const std::string& line) {
  const auto fault = read_kernel_line(line);
  EXPECT_TRUE(fault.has_value()) << line;
  return fault.value_or(Fault{});
}

TEST(KernelLog, XidNamesDeviceCodeAndProcess) {
  for (const std::string frame :
       {"", "4,8123,991234567,-;", "<4>[ 1234.567890] ", "[ 1234.567890] ",
        "[ 1234.567890][ T4242] ", "[Tue Nov 24 04:06:19 2026] ",
        "Nov 24 04:06:19 node-3 kernel: ", "Nov 24 04:06:19 node-3 kernel: [ 1234.567890] ",
        "2026-11-24T04:06:19.123456+00:00 node-3 kernel: ", "[ 1234.567890] node-3 kernel: ",
        "2026-11-24T04:06:19,123456+00:00 ", "kern  :err   : [ 1234.567890] ",
        "kern  :notice: [Tue Nov 24 04:06:19 2026] ", "Tue 2026-11-24 04:06:19 UTC n3 kernel: ",
        "1795493179.123456 node-3 kernel: ", "<4>1 2026-11-24T04:06:19.1Z node-3 kernel - - - ",
        "<4>1 2026-11-24T04:06:19Z n3 kernel - - [meta id=\"1\"] [ 12.5] ", "\xef\xbb\xbf"}) {
    const Fault fault = found(frame +
                              "NVRM: Xid (PCI:0000:b9:00): 79, pid='4242', name=python3, GPU has "
                              "fallen off the bus.");
    EXPECT_EQ(fault.kind, "xid") << frame;
    EXPECT_EQ(fault.code, 79);
    EXPECT_EQ(fault.device, "0000:b9:00");
    EXPECT_EQ(fault.pid, 4242);
    EXPECT_EQ(fault.cause, CauseClass::kAccelerator);
    EXPECT_EQ(fault.action, Action::kRebootNode);
    EXPECT_TRUE(fault.line.starts_with(frame));
  }
}

TEST(KernelLog, XidInTheFormatsOfOldAndNewDrivers) {
  EXPECT_EQ(found("NVRM: Xid (0000:03:00): 14, Channel 00000001").device, "0000:03:00");
  EXPECT_EQ(found("NVRM: Xid (PCI:0000:03:00): 43, Ch 00000010").pid, 0);
  EXPECT_EQ(found("NVRM: Xid (PCI:0009:01:00): 31, pid=77, name=x, Ch 1").device, "0009:01:00");
  EXPECT_EQ(found("NVRM: Xid (PCI:0000:01:00): 13, pid=<unknown>, name=<unknown>, x").pid, 0);
  const Fault mig = found("NVRM: Xid (PCI:0000:01:00 GPU-I:05): 94, pid=7194, Contained: CE");
  EXPECT_EQ(mig.device, "0000:01:00");
  EXPECT_EQ(mig.code, 94);
}

TEST(KernelLog, UserCodeXidsTouchNoNode) {
  for (const char* code : {"13", "31", "43", "45"}) {
    const Fault fault = found(std::string("NVRM: Xid (PCI:0000:01:00): ") + code + ", x");
    EXPECT_EQ(fault.action, Action::kNone) << code;
    EXPECT_EQ(fault.cause, CauseClass::kApplication) << code;
  }
}

TEST(KernelLog, EachDocumentedCodeHasACauseAnActionAndASource) {
  EXPECT_TRUE(std::ranges::is_sorted(xid_codes()));
  EXPECT_TRUE(std::ranges::is_sorted(sxid_codes()));
  for (std::int32_t code = 1; code <= 172; ++code) EXPECT_TRUE(xid_rule(code)) << code;
  const auto check = [](const CodeRule& rule) {
    EXPECT_THAT(rule.meaning, Not(IsEmpty())) << rule.code;
    EXPECT_THAT(rule.why, Not(IsEmpty())) << rule.code;
    EXPECT_THAT(rule.vendor_action, Not(IsEmpty())) << rule.code;
    EXPECT_THAT(rule.source, Not(IsEmpty())) << rule.code;
    EXPECT_NE(rule.action, Action::kReplaceNode) << rule.code << ": no vendor starts with that";
    EXPECT_TRUE(rule.cause != CauseClass::kApplication || rule.action == Action::kNone)
        << rule.code;
  };
  for (const std::int32_t code : xid_codes()) check(*xid_rule(code));
  for (const std::int32_t code : sxid_codes()) check(*sxid_rule(code));
  EXPECT_FALSE(xid_rule(0) || xid_rule(-79) || xid_rule(173) || sxid_rule(9999) ||
               sxid_rule(12052));
}

TEST(KernelLog, TheCuresOfNvidiasCatalogue) {
  const auto action = [](std::int32_t code) { return xid_rule(code)->action; };
  for (const std::int32_t code :
       {46, 48, 62, 64, 74, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158, 171, 172})
    EXPECT_EQ(action(code), Action::kResetDevice) << code;
  for (const std::int32_t code : {79, 151}) EXPECT_EQ(action(code), Action::kRebootNode) << code;
  for (const std::int32_t code : {14,  37,  38,  44,  63,  66,  67,  92,  93,  106, 107, 108,
                                  121, 137, 141, 157, 159, 160, 161, 162, 163, 164, 165})
    EXPECT_EQ(action(code), Action::kNone) << code;
  for (const std::int32_t code : {8, 32, 39, 68, 82, 94, 105, 126, 139})
    EXPECT_EQ(action(code), Action::kRestartRanks) << code;
  for (const std::int32_t code : {1, 47, 54, 78, 142, 167, 169})
    EXPECT_EQ(action(code), Action::kAskOperator) << code;
}

TEST(KernelLog, AnUnknownCodeAsksTheOperator) {
  for (const char* line : {"NVRM: Xid (PCI:0000:01:00): 9999, something new",
                           "nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 99999, Fatal, Link 1 x"}) {
    EXPECT_EQ(found(line).action, Action::kAskOperator);
    EXPECT_EQ(found(line).cause, CauseClass::kUnknown);
  }
}

TEST(KernelLog, Xid154SaysItsCureItself) {
  const auto action = [](const std::string& word) {
    return found(
               "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to "
               "0x2 (" +
               word + ")")
        .action;
  };
  EXPECT_EQ(action("None"), Action::kNone);
  EXPECT_EQ(action("Drain P2P"), Action::kRestartRanks);
  EXPECT_EQ(action("Drain and Reset"), Action::kResetDevice);
  EXPECT_EQ(action("GPU Reset Required"), Action::kResetDevice);
  EXPECT_EQ(action("Node Reboot Required"), Action::kRebootNode);
  EXPECT_EQ(action("Something Else"), Action::kAskOperator);
}

TEST(KernelLog, NvlinkXidsAreDecodedBySubcomponentAndRegisters) {
  const auto action = [](const std::string& text) {
    return found("NVRM: Xid (PCI:0000:01:00): " + text).action;
  };
  const std::string tail = " 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000)";
  EXPECT_EQ(action("144, SAW_MVB Fatal XC0 i0 Link -1 (0x00000001 0x00000002" + tail),
            Action::kResetDevice);
  EXPECT_EQ(action("144, SAW_MVB Nonfatal XC0 i0 Link -1 (0x00000001 0x00000004" + tail),
            Action::kNone);
  EXPECT_EQ(action("145, RLW_REMAP Nonfatal XC1 i0 Link 03 (0x00000004 0x00000004" + tail),
            Action::kRestartRanks);
  EXPECT_EQ(action("145, RLW_REMAP Fatal XC1 i0 Link 03 (0x00000082 0x00000044" + tail),
            Action::kResetDevice)
      << "of several bits the gravest counts";
  EXPECT_EQ(action("145, RLW_RXPIPE Nonfatal XC0 i0 Link 03 (0x00000006 0x00000001" + tail),
            Action::kNone);
  EXPECT_EQ(action("145, RLW_RXPIPE Fatal XC0 i0 Link 03 (0x00000086 0x00000001" + tail),
            Action::kResetDevice);
  EXPECT_EQ(action("145, RLW_RXPIPE Fatal XC0 i0 Link 03 (0x000004c2 0x00000001" + tail),
            Action::kResetDevice);
  EXPECT_EQ(action("145, RLW_RXPIPE Nonfatal XC0 i0 Link 03 (0x000000c2 0x00000001" + tail),
            Action::kNone)
      << "bit 7 of the old register is part of its sub-component";
  EXPECT_EQ(action("146, TLW_RX_PIPE1 Fatal XC0 i0 Link 03 (0x0000000b 0x00000004" + tail),
            Action::kResetDevice);
  EXPECT_EQ(action("149, NETIR_LINK_DOWN Fatal XC0 i0 Link 03 (0x00400011 0x00000000" + tail),
            Action::kResetDevice);
  EXPECT_EQ(action("149, NETIR_LINK_EVT Fatal XC0 i0 Link 03 (0x026001c6 0x00000000" + tail),
            Action::kNone)
      << "0b100110: taken down by this side's own software";
  EXPECT_EQ(action("149, NETIR_BER_EVENT Nonfatal XC0 i0 Link 03 (0x00000013 0x00000001" + tail),
            Action::kNone);
  EXPECT_EQ(action("150, MSE_WATCHDOG Fatal XC0 i0 Link -1 (0x00000000 0x00000000" + tail),
            Action::kResetDevice);
  EXPECT_EQ(action("147, TREX Nonfatal XC0 i0 Link 03 (0x0000000e 0x40000000" + tail),
            Action::kNone)
      << "not in the sheet: the line's own word";
}

TEST(KernelLog, SxidsByTheGuideAndTheLinesOwnWord) {
  const auto action = [](const std::string& text) {
    return found("nvidia-nvswitch3: SXid (PCI:0000:c6:00.0): " + text).action;
  };
  const Fault fault =
      found("[ 12.5] nvidia-nvswitch3: SXid (PCI:0000:c6:00.0): 20034, Fatal, Link 30 LTSSM Fault");
  EXPECT_EQ(fault.kind, "sxid");
  EXPECT_EQ(fault.code, 20034);
  EXPECT_EQ(fault.device, "0000:c6:00.0");
  EXPECT_EQ(fault.action, Action::kResetDevice);
  EXPECT_EQ(action("22013, Non-fatal, Link 2 Minion Link DLREQ interrupt"), Action::kNone);
  EXPECT_EQ(action("11012, Non-fatal, Link 2 ingress header ECC"), Action::kNone);
  EXPECT_EQ(action("12028, Non-fatal, Link 32 egress PRIV error"), Action::kRestartRanks);
  EXPECT_EQ(action("23003, Fatal, Link 01 egress DST-VC credit overflow"), Action::kRebootNode);
  EXPECT_EQ(action("14008, Fatal, Link 01 tagpool DBE"), Action::kResetDevice);
  EXPECT_EQ(action("14007, Non-fatal, Link 01 tagpool limit"), Action::kNone);
  EXPECT_EQ(action("14007, Severity 0 Engine instance 01 Sub-engine instance 00"), Action::kNone);
  EXPECT_EQ(action("26006, SOE HALT data[0] = 0x1"), Action::kAskOperator);
}

TEST(KernelLog, OutOfMemoryKillNamesTheVictimAndWhatItUsed) {
  for (const char* prefix : {"Out of memory", "Memory cgroup out of memory"}) {
    const Fault fault =
        found(std::string(prefix) +
              ": Killed process 777 (python3) total-vm:9000kB, anon-rss:4096kB, file-rss:0kB");
    EXPECT_EQ(fault.kind, "oom");
    EXPECT_EQ(fault.pid, 777);
    EXPECT_EQ(fault.used_bytes, 4096u * 1024);
    EXPECT_EQ(fault.action, Action::kRestartRanks);
  }
  EXPECT_EQ(found("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
                  "oom_memcg=/j,task_memcg=/j/1,task=python3,pid=4242,uid=0")
                .pid,
            4242);
}

TEST(KernelLog, MachineChecksByTheStatusOfTheBank) {
  const auto action = [](const char* status) {
    return found(std::string("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 5: ") + status)
        .action;
  };
  EXPECT_EQ(action("8c00004000010090"), Action::kNone);
  EXPECT_EQ(action("be00000000800400"), Action::kRebootNode);
}

TEST(KernelLog, TheLastDigitIsNeverGuessed) {
  EXPECT_FALSE(read_kernel_line("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 5: be0000"));
  EXPECT_FALSE(read_kernel_line("INFO: task python3:4242 blocked for more than 12"));
  EXPECT_FALSE(read_kernel_line("EXT4-fs error (device sda1"));
  EXPECT_FALSE(read_kernel_line("pcieport 0000:00:01.0: PCIe Bus Error: severity=Uncorrected (Fa"));
  EXPECT_FALSE(read_kernel_line(
      "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node"));
  EXPECT_FALSE(read_kernel_line(
      "NVRM: Xid (PCI:0000:01:00): 145, RLW_REMAP Nonfatal XC1 i0 Link 03 (0x00000004 0x000"));
}

TEST(KernelLog, EfaIsNotEna) {
  const Fault efa = found("efa 0000:00:1e.0 rdmap0s30: Wait for completion (polling) timeout");
  EXPECT_EQ(efa.kind, "efa");
  EXPECT_EQ(efa.device, "0000:00:1e.0");
  EXPECT_EQ(efa.cause, CauseClass::kInterconnect);
  for (const char* line : {"ena 0000:00:05.0: Wait for completion (polling) timeout",
                           "ena 0000:00:05.0 eth0: Keep alive watchdog timeout.",
                           "ena 0000:00:1e.0 efa0: Wait for completion (polling) timeout"})
    EXPECT_FALSE(read_kernel_line(line)) << line;
}

TEST(KernelLog, LookAlikesAndCutOffLinesSayNothing) {
  for (const char* line :
       {"",
        "\n",
        ";",
        "<",
        "[",
        "<4>",
        "6,1,2,-;",
        "NVRM: Xid ",
        "NVRM: Xid (PCI:0000:b9:00",
        "NVRM: Xid (PCI:0000:b9:00): ",
        "NVRM: Xid (PCI:0000:b9:00): 7",
        "NVRM: Xid (PCI:0000:b9:00): 79",
        "NVRM: Xid (): 79, x",
        "NVRM: Xid (PCI:none:1): 79, x",
        "NVRM: Xid (PCI:0000:b9:00): -79, x",
        "NVRM: Xid (PCI:0000:b9:00): abc, x",
        "NVRM: Xid (PCI:0000:b9:00): 99999999999999, x",
        "Xid (PCI:0000:b9:00): 79, x",
        "NVRM: GPU at PCI:0000:b9:00: GPU-1f2e3d4c",
        "NVRM: GPU Board Serial Number: 165",
        "Nov 24 04:06:19 node-3 python3[7]: NVRM: Xid (PCI:0000:b9:00): 79, x",
        "Nov 24 04:06:19 node-3 app: kernel: NVRM: Xid (PCI:0000:b9:00): 79, x",
        "<4>1 2026-11-24T04:06:19.1Z n3 app - - - NVRM: Xid (PCI:0000:b9:00): 79, x",
        "<4>1 2026-11-24T04:06:19.1Z n3 kernel - - [x NVRM: Xid (PCI:0:b9:00): 79, x",
        "user  :err   : [    1.5] NVRM: Xid (PCI:0000:b9:00): 79, x",
        "2026-11-24T04:06:19.123456+00:00 NVRM: Xid (PCI:0000:b9:00): 79, x",
        "nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 200",
        "nvidia-nvswitch0: open (major=507)",
        "Out of memory: Killed process ",
        "Out of memory: Killed process x (python3)",
        "nfs: server fs1 OK",
        "mce: CPU3: Core temperature/speed normal",
        "mlx5_core 0000:3b:00.0 ens1: Link up",
        "EXT4-fs (sda1): mounted filesystem with ordered",
        "usb 1-1: new high-speed USB device"}) {
    EXPECT_FALSE(read_kernel_line(line).has_value()) << line;
  }
}

TEST(KernelTime, OfEachFrame) {
  constexpr std::int64_t kSecond = 1'000'000'000, kUnix = 1'795'493'179;
  EXPECT_EQ(kernel_time("6,12,5678,-;x", 2026).since_boot_ns, 5'678'000);
  EXPECT_EQ(kernel_time("<6>[   12.345678] x", 2026).since_boot_ns, 12'345'678'000);
  for (const char* line :
       {"Nov 24 04:06:19 host kernel: [   7.5] x", "2026-11-24T04:06:19+00:00 host kernel: x",
        "2026-11-24T05:06:19.0+01:00 host kernel: x", "[Tue Nov 24 04:06:19 2026] x",
        "2026-11-24 04:06:19 host kernel: x", "2026-11-24T04:06:19,000000+00:00 x",
        "Tue 2026-11-24 04:06:19 UTC host kernel: x", "1795493179.000000 host kernel: x",
        "kern  :err   : [Tue Nov 24 04:06:19 2026] x",
        "<4>1 2026-11-24T04:06:19Z h kernel - - - x"})
    EXPECT_EQ(kernel_time(line, 2026).unix_ns, kUnix * kSecond) << line;
  EXPECT_EQ(kernel_time("Nov 24 04:06:19 host kernel: [   7.5] x", 2026).since_boot_ns,
            7'500'000'000);
  for (const char* line :
       {"NVRM: Xid (PCI:0000:b9:00): 79, x", "Nov 24 9223372036854775807:06:19 host kernel: x",
        "2026-11-24T04:06:19+9223372036854775807 host kernel: x"})
    EXPECT_FALSE(kernel_time(line, 2026).unix_ns) << line;
}

}  // namespace
}  // namespace holdfast
