// Messages of the Linux kernel and of drivers other than NVIDIA's numbered codes, in the formats of
// their sources. The first rule that matches counts.

#include "core/diagnose/kernel_rules.h"

namespace holdfast {
namespace {

constexpr auto kNone = Action::kNone;
constexpr auto kReset = Action::kResetDevice;
constexpr auto kReboot = Action::kRebootNode;
constexpr auto kAsk = Action::kAskOperator;
constexpr auto kHost = CauseClass::kHost;
constexpr auto kDisk = CauseClass::kStorage;
constexpr auto kNet = CauseClass::kInterconnect;
constexpr auto kHeat = CauseClass::kThermal;
constexpr auto kMemory = CauseClass::kOutOfMemory;
constexpr auto kUnclear = CauseClass::kUnknown;

constexpr std::string_view kOom = "Linux mm/oom_kill.c";
constexpr std::string_view kAer = "Linux drivers/pci/pcie/aer.c, Documentation/PCI/pcieaer-howto";
constexpr std::string_view kMce = "Linux arch/x86/kernel/cpu/mce, Intel SDM volume 3 chapter 16";
constexpr std::string_view kPages = "Linux mm/memory-failure.c";
constexpr std::string_view kEdac = "Linux drivers/edac/edac_mc.c";
constexpr std::string_view kGhes = "Linux drivers/acpi/apei/ghes.c, drivers/firmware/efi/cper.c";
constexpr std::string_view kExt4 = "Linux fs/ext4/super.c";
constexpr std::string_view kXfs = "Linux fs/xfs/xfs_fsops.c, fs/xfs/xfs_error.c";
constexpr std::string_view kBtrfs = "Linux fs/btrfs/super.c, messages.c, disk-io.c, volumes.c";
constexpr std::string_view kLustre = "Lustre lustre/ptlrpc/import.c";
constexpr std::string_view kNvme = "Linux drivers/nvme/host/pci.c, core.c";
constexpr std::string_view kBlock = "Linux block/blk-core.c";
constexpr std::string_view kScsi = "Linux drivers/scsi/scsi_logging.c, scsi_lib.c, sd.c";
constexpr std::string_view kMlx5 =
    "Linux drivers/net/ethernet/mellanox/mlx5/core/health.c, events.c";
constexpr std::string_view kEfa = "Linux drivers/infiniband/hw/efa/efa_com.c, efa_main.c";
constexpr std::string_view kTherm = "Linux arch/x86/kernel/cpu/mce/therm_throt.c (drivers/thermal)";
constexpr std::string_view kNvidia = "NVIDIA open-gpu-kernel-modules, src/nvidia/arch/nvalloc/unix";

constexpr std::string_view kKilled = "the kernel killed a process for lack of memory";
constexpr std::string_view kCgroupKilled = "a process was killed at its group's memory limit";
constexpr std::string_view kGone = "the GPU is no longer reached over PCIe (as Xid 79)";
constexpr std::string_view kNoStart = "the driver could not take over the GPU";
constexpr std::string_view kCorrected = "PCIe error, corrected by the link itself";
constexpr std::string_view kNonFatal = "uncorrected PCIe error; the link still works";
constexpr std::string_view kFatal = "fatal PCIe error: the link is not reliable until it is reset";
constexpr std::string_view kEccCorrected = "memory error, corrected";
constexpr std::string_view kEccUncorrected = "memory error that could not be corrected";
constexpr std::string_view kPoisoned = "a page with a memory error was taken from a process";
constexpr std::string_view kBlocked = "a task has waited for long: for a disk, a server or a lock";
constexpr std::string_view kSoftLockup =
    "a CPU did not schedule for long; the machine is overloaded";
constexpr std::string_view kStall = "a CPU held up the kernel's RCU for long";
constexpr std::string_view kHardLockup = "a CPU is stuck with interrupts off";
constexpr std::string_view kPanic = "the kernel gave up: the machine restarts or stands still";
constexpr std::string_view kReadOnly = "a file system was made read-only after an error";
constexpr std::string_view kExtError = "a file system found damage or could not read its disk";
constexpr std::string_view kXfsDown = "XFS shut a file system down; it must be mounted anew";
constexpr std::string_view kNfsSilent = "an NFS server does not answer; who uses it waits";
constexpr std::string_view kNvmeSlow = "an NVMe command took too long";
constexpr std::string_view kNvmeReset = "the NVMe controller is reset by the kernel";
constexpr std::string_view kNvmeGone = "the NVMe controller did not come back from a reset";
constexpr std::string_view kMedium = "a disk could not read or write a sector";
constexpr std::string_view kNoMedium = "a drive without a medium was read; harmless";
constexpr std::string_view kNoDiscard = "a disk refused to discard blocks; nothing is lost";
constexpr std::string_view kDiskGone = "a disk was given up by the kernel";
constexpr std::string_view kNicDown = "a network link went down";
constexpr std::string_view kNicCable = "a cable or an optical module reported an error";
constexpr std::string_view kNicFatal = "the network adapter's firmware stopped";
constexpr std::string_view kNicSlow = "the network adapter did not answer a command in time";
constexpr std::string_view kNicHot = "the network adapter is too hot";
constexpr std::string_view kNicWarns = "the network adapter's firmware warns of something";
constexpr std::string_view kBadWork = "a send or receive failed; most often the peer is gone";
constexpr std::string_view kEfaSilent = "the EFA device does not answer its driver";
constexpr std::string_view kEfaFailed = "the EFA device refused a command";
constexpr std::string_view kThrottled = "a CPU is too hot and was slowed down";
constexpr std::string_view kTooHot = "a sensor reached its critical temperature";

// tidy: allow function, because a table is no function
constexpr auto kRules = std::to_array<KernelRule>({
    // A GPU that vanished, where the driver prints no Xid.
    {"gpu_lost", "", "NVRM: GPU at PCI:@: GPU has fallen off the bus", CauseClass::kAccelerator,
     kReboot, kGone, kNvidia},
    {"gpu_lost", "", "NVRM: GPU at PCI:@ has fallen off the bus", CauseClass::kAccelerator, kReboot,
     kGone, kNvidia},
    {"gpu_lost", "", "NVRM: GPU at @ has fallen off the bus", CauseClass::kAccelerator, kReboot,
     kGone, kNvidia},
    {"gpu_lost", "", "NVRM: GPU @: GPU has fallen off the bus", CauseClass::kAccelerator, kReboot,
     kGone, kNvidia},
    {"gpu_lost", "", "NVRM: fallen off the bus and is not responding to commands",
     CauseClass::kAccelerator, kReboot, kGone, kNvidia},
    {"gpu_init", "", "NVRM: GPU @: RmInitAdapter failed!", CauseClass::kAccelerator, kAsk, kNoStart,
     kNvidia},
    {"gpu_init", "", "NVRM: GPU @: rm_init_adapter failed", CauseClass::kAccelerator, kAsk,
     kNoStart, kNvidia},

    {"oom", "", "Out of memory: Killed process % (*)", kMemory, Action::kRestartRanks, kKilled,
     kOom},
    {"oom", "", "Out of memory (oom_kill_allocating_task): Killed process % (*)", kMemory,
     Action::kRestartRanks, kKilled, kOom},
    {"oom", "", "Memory cgroup out of memory: Killed process % (*)", kMemory, Action::kRestartRanks,
     kCgroupKilled, kOom},
    {"oom", "", "Out of memory: Kill process % (*) score # or sacrifice child", kMemory,
     Action::kRestartRanks, kKilled, kOom},
    {"oom", "", "Memory cgroup out of memory: Kill process % (*) score # or sacrifice child",
     kMemory, Action::kRestartRanks, kCgroupKilled, kOom},
    {"oom", "", "Killed process % (*) total-vm:#kB", kMemory, Action::kRestartRanks, kKilled, kOom},
    {"oom", "", "Killed process % (*), UID #, total-vm:#kB", kMemory, Action::kRestartRanks,
     kKilled, kOom},
    {"oom", "", "oom-kill:constraint=CONSTRAINT_MEMCG,*,pid=%,uid=", kMemory, Action::kRestartRanks,
     kCgroupKilled, kOom},
    {"oom", "", "oom-kill:constraint=CONSTRAINT_*,pid=%,uid=", kMemory, Action::kRestartRanks,
     kKilled, kOom},

    {"aer", "*", "PCIe Bus Error: severity=Corrected, type=", kNet, kNone, kCorrected, kAer},
    {"aer", "*", "AER: PCIe Bus Error: severity=Corrected, type=", kNet, kNone, kCorrected, kAer},
    {"aer", "*", "AER: *Corrected error received: @", kNet, kNone, kCorrected, kAer},
    {"aer", "*", "AER: *Corrected error message received from @", kNet, kNone, kCorrected, kAer},
    {"aer", "*", "PCIe Bus Error: severity=Correctable, type=", kNet, kNone, kCorrected, kAer},
    {"aer", "*", "AER: PCIe Bus Error: severity=Correctable, type=", kNet, kNone, kCorrected, kAer},
    {"aer", "*", "AER: *Correctable error received: @", kNet, kNone, kCorrected, kAer},
    {"aer", "*", "AER: *Correctable error message received from @", kNet, kNone, kCorrected, kAer},
    {"aer", "*", "PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=", kNet, kNone, kNonFatal,
     kAer},
    {"aer", "*", "AER: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=", kNet, kNone,
     kNonFatal, kAer},
    {"aer", "*", "AER: *Uncorrected (Non-Fatal) error received: @", kNet, kNone, kNonFatal, kAer},
    {"aer", "*", "AER: *Uncorrected (Non-Fatal) error message received from @", kNet, kNone,
     kNonFatal, kAer},
    {"aer", "*", "PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=", kNet, kNone,
     kNonFatal, kAer},
    {"aer", "*", "AER: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=", kNet, kNone,
     kNonFatal, kAer},
    {"aer", "*", "AER: *Uncorrectable (Non-Fatal) error received: @", kNet, kNone, kNonFatal, kAer},
    {"aer", "*", "AER: *Uncorrectable (Non-Fatal) error message received from @", kNet, kNone,
     kNonFatal, kAer},
    {"aer", "*", "PCIe Bus Error: severity=Uncorrected (Fatal), type=", kNet, kReset, kFatal, kAer},
    {"aer", "*", "AER: PCIe Bus Error: severity=Uncorrected (Fatal), type=", kNet, kReset, kFatal,
     kAer},
    {"aer", "*", "AER: *Uncorrected (Fatal) error received: @", kNet, kReset, kFatal, kAer},
    {"aer", "*", "AER: *Uncorrected (Fatal) error message received from @", kNet, kReset, kFatal,
     kAer},
    {"aer", "*", "PCIe Bus Error: severity=Uncorrectable (Fatal), type=", kNet, kReset, kFatal,
     kAer},
    {"aer", "*", "AER: PCIe Bus Error: severity=Uncorrectable (Fatal), type=", kNet, kReset, kFatal,
     kAer},
    {"aer", "*", "AER: *Uncorrectable (Fatal) error received: @", kNet, kReset, kFatal, kAer},
    {"aer", "*", "AER: *Uncorrectable (Fatal) error message received from @", kNet, kReset, kFatal,
     kAer},
    {"aer", "*", "AER: can't recover (no error_detected callback)", kNet, kReset,
     "the device's driver cannot recover from a PCIe error", kAer},
    {"aer", "*", "AER: device recovery failed", kNet, kReset,
     "the device did not recover from a PCIe error", kAer},

    {"aer", "*", "DPC: containment event, ", kNet, kReset,
     "a port cut the device behind it off after a PCIe error", "Linux drivers/pci/pcie/dpc.c"},

    {"mce", "", "[Hardware Error]: Machine check events logged", kHost, kNone,
     "the CPU reported errors, which were logged", kMce},
    {"mce", "", "mce: [Hardware Error]: Machine check events logged", kHost, kNone,
     "the CPU reported errors, which were logged", kMce},
    {"mce", "", "Kernel panic - not syncing: Fatal machine check", kHost, kReboot,
     "the CPU reported an error that stopped the machine", kMce},
    {"mce", "", "mce: Uncorrected hardware memory error in user-access at ", kHost, kReboot,
     kEccUncorrected, kMce},
    {"mce", "", "Memory failure: *: Killing *:% due to hardware memory corruption", kHost,
     Action::kRestartRanks, kPoisoned, kPages},
    {"mce", "", "Memory failure: *: Sending SIGBUS to *:% due to hardware memory corruption", kHost,
     Action::kRestartRanks, kPoisoned, kPages},
    {"mce", "", "Memory failure: *: recovery action for *: Failed", kHost, kReboot,
     "a page with a memory error is still in use", kPages},
    {"mce", "", "Memory failure: *: recovery action for *: ", kHost, kNone,
     "a page with a memory error was taken out of use", kPages},
    {"mce", "", "[Hardware Error]: Corrected error, no action required.", kHost, kNone,
     kEccCorrected, "Linux drivers/edac/mce_amd.c"},
    {"mce", "", "[Hardware Error]: Deferred error, no action required.", kHost, kNone,
     "an uncorrected error in data that nobody has used yet", "Linux drivers/edac/mce_amd.c"},
    {"mce", "", "[Hardware Error]: Uncorrected, software restartable error.", kHost, kNone,
     "an uncorrected error in the data of one process", "Linux drivers/edac/mce_amd.c"},
    {"mce", "", "[Hardware Error]: Uncorrected, software containable error.", kHost, kReboot,
     kEccUncorrected, "Linux drivers/edac/mce_amd.c"},
    {"mce", "", "[Hardware Error]: System Fatal error.", kHost, kReboot,
     "the CPU reported a fatal error", "Linux drivers/edac/mce_amd.c"},
    {"edac", "", "EDAC @: # CE *on ", kHost, kNone, kEccCorrected, kEdac},
    {"edac", "", "EDAC @: # UE *on ", kHost, kReboot, kEccUncorrected, kEdac},
    {"mce", "", "{#}[Hardware Error]: event severity: corrected", kHost, kNone, kEccCorrected,
     kGhes},
    {"mce", "", "{#}[Hardware Error]: event severity: recoverable", kHost, kNone,
     "the firmware reported an error that the kernel can recover from", kGhes},
    {"mce", "", "{#}[Hardware Error]: event severity: fatal", kHost, kReboot,
     "the firmware reported a fatal hardware error", kGhes},

    {"hung_task", "", "INFO: task *:% blocked for more than # seconds", kUnclear, kNone, kBlocked,
     "Linux kernel/hung_task.c"},
    {"hung_task", "", "INFO: task *:% blocked in I/O wait for more than # seconds", kUnclear, kNone,
     kBlocked, "Linux kernel/hung_task.c"},
    {"soft_lockup", "", "BUG: soft lockup - CPU*stuck for #s! [*:%]", kUnclear, kNone, kSoftLockup,
     "Linux kernel/watchdog.c"},
    {"soft_lockup", "", "watchdog: BUG: soft lockup - CPU*stuck for #s! [*:%]", kUnclear, kNone,
     kSoftLockup, "Linux kernel/watchdog.c"},
    {"soft_lockup", "", "NMI watchdog: BUG: soft lockup - CPU*stuck for #s! [*:%]", kUnclear, kNone,
     kSoftLockup, "Linux kernel/watchdog.c"},
    {"rcu_stall", "", "rcu: INFO: rcu_* self-detected stall on CPU", kUnclear, kNone, kStall,
     "Linux kernel/rcu/tree_stall.h"},
    {"rcu_stall", "", "rcu: INFO: rcu_* detected stalls on CPUs/tasks:", kUnclear, kNone, kStall,
     "Linux kernel/rcu/tree_stall.h"},
    {"rcu_stall", "", "rcu: INFO: rcu_* detected expedited stalls on CPUs/tasks:", kUnclear, kNone,
     kStall, "Linux kernel/rcu/tree_exp.h"},
    {"rcu_stall", "", "INFO: rcu_* self-detected stall on CPU", kUnclear, kNone, kStall,
     "Linux kernel/rcu/tree.c"},
    {"rcu_stall", "", "INFO: rcu_* detected stalls on CPUs/tasks:", kUnclear, kNone, kStall,
     "Linux kernel/rcu/tree.c"},
    {"rcu_stall", "", "rcu: rcu_* kthread starved for # jiffies!", kUnclear, kNone, kStall,
     "Linux kernel/rcu/tree_stall.h"},
    {"workqueue_lockup", "", "BUG: workqueue lockup - pool *stuck for #s!", kUnclear, kNone,
     "work of the kernel has not moved for long; the machine is overloaded or waits for a device",
     "Linux kernel/workqueue.c"},
    {"hard_lockup", "", "watchdog: CPU#: Watchdog detected hard LOCKUP on cpu #", kHost, kReboot,
     kHardLockup, "Linux kernel/watchdog.c"},
    {"hard_lockup", "", "watchdog: Watchdog detected hard LOCKUP on cpu #", kHost, kReboot,
     kHardLockup, "Linux kernel/watchdog_perf.c"},
    {"hard_lockup", "", "NMI watchdog: Watchdog detected hard LOCKUP on cpu #", kHost, kReboot,
     kHardLockup, "Linux kernel/watchdog_hld.c"},
    {"hard_lockup", "", "Watchdog detected hard LOCKUP on cpu #", kHost, kReboot, kHardLockup,
     "Linux kernel/watchdog_hld.c"},
    {"panic", "", "Kernel panic - not syncing: ", kHost, kReboot, kPanic, "Linux kernel/panic.c"},

    {"read_only", "", "EXT4-fs (@): Remounting filesystem read-only", kDisk, kReboot, kReadOnly,
     kExt4},
    {"read_only", "", "EXT4-fs (@): Remounting file system read-only", kDisk, kReboot, kReadOnly,
     kExt4},
    {"filesystem", "", "EXT4-fs error (device @): ", kDisk, kAsk, kExtError, kExt4},
    {"filesystem", "", "EXT4-fs error (device @) in ", kDisk, kAsk, kExtError, kExt4},
    {"filesystem", "", "EXT4-fs (@): failed to convert unwritten extents", kDisk, kAsk, kExtError,
     kExt4},
    {"filesystem", "", "EXT4-fs warning (device @): *: I/O error ", kDisk, kAsk, kExtError, kExt4},
    {"filesystem", "", "EXT4-fs (@): I/O error while writing superblock", kDisk, kAsk, kExtError,
     kExt4},
    {"filesystem", "", "EXT4-fs (@): previous I/O error to superblock detected", kDisk, kAsk,
     kExtError, kExt4},
    {"filesystem", "", "EXT4-fs (@): Delayed block allocation failed for inode # at ", kDisk, kAsk,
     kExtError, "Linux fs/ext4/inode.c"},
    {"filesystem", "", "JBD2: Error # detected when updating journal superblock for @.", kDisk,
     kAsk, kExtError, "Linux fs/jbd2/journal.c"},
    {"filesystem", "", "JBD2: Error -# detected when updating journal superblock for @.", kDisk,
     kAsk, kExtError, "Linux fs/jbd2/journal.c"},
    {"filesystem", "", "JBD2: Detected IO errors while flushing file data on @", kDisk, kAsk,
     kExtError, "Linux fs/jbd2/commit.c"},
    {"read_only", "", "Aborting journal on device @.", kDisk, kReboot, kReadOnly,
     "Linux fs/jbd2/journal.c"},
    {"filesystem", "", "XFS (@): *hutting down filesystem", kDisk, kReboot, kXfsDown, kXfs},
    {"filesystem", "", "XFS (@): *ilesystem has been shut down", kDisk, kReboot, kXfsDown, kXfs},
    {"filesystem", "", "XFS (@): Corruption ", kDisk, kAsk, kExtError, kXfs},
    {"filesystem", "", "XFS (@): Internal error ", kDisk, kAsk, kExtError, kXfs},
    {"filesystem", "", "XFS (@): Metadata corruption detected at ", kDisk, kAsk, kExtError, kXfs},
    {"filesystem", "", "XFS (@): Metadata CRC error detected at ", kDisk, kAsk, kExtError, kXfs},
    {"filesystem", "", "XFS (@): metadata I/O error in ", kDisk, kAsk, kExtError, kXfs},
    {"filesystem", "", "XFS (@): log I/O error ", kDisk, kReboot, kXfsDown, kXfs},
    {"filesystem", "", "XFS (@): xfs_do_force_shutdown(0x*) called from line ", kDisk, kReboot,
     kXfsDown, kXfs},
    {"filesystem", "", "XFS (@): writeback error on inode ", kDisk, kAsk, kExtError,
     "Linux fs/xfs/xfs_aops.c"},
    {"read_only", "", "BTRFS info (device @): forced readonly", kDisk, kReboot, kReadOnly, kBtrfs},
    {"read_only", "", "BTRFS info (device @ state *): forced readonly", kDisk, kReboot, kReadOnly,
     kBtrfs},
    {"filesystem", "",
     "BTRFS error (device @*): bdev * errs: wr #, rd #, flush #, corrupt #, gen #", kDisk, kAsk,
     kExtError, kBtrfs},
    {"filesystem", "", "BTRFS: error (device @*) in *: errno=-#", kDisk, kAsk, kExtError, kBtrfs},
    {"filesystem", "", "BTRFS critical (device @*): corrupt ", kDisk, kAsk, kExtError, kBtrfs},
    {"filesystem", "", "FAT-fs (@): Filesystem has been set read-only", kDisk, kAsk, kReadOnly,
     "Linux fs/fat/misc.c"},
    {"lustre", "", "LustreError: *: @: This client was evicted by ", kDisk, kNone,
     "a Lustre server gave this client up; what was open fails", kLustre},
    {"lustre", "", "Lustre: @: Connection to * was lost; in progress operations", kDisk, kNone,
     "a Lustre server does not answer; who uses it waits", kLustre},
    {"lustre", "", "Lustre: *:0:(*) @: Connection to * was lost; in progress operations", kDisk,
     kNone, "a Lustre server does not answer; who uses it waits", kLustre},
    {"nfs", "", "nfs: server @ not responding, still trying", kDisk, kNone, kNfsSilent,
     "Linux net/sunrpc/clnt.c"},
    {"nfs", "", "nfs: server @ not responding, timed out", kDisk, kNone, kNfsSilent,
     "Linux net/sunrpc/clnt.c"},

    {"nvme", "", "nvme @: I/O *QID # timeout, ", kDisk, kNone, kNvmeSlow, kNvme},
    {"nvme", "", "nvme @: controller is down; will reset: ", kDisk, kNone, kNvmeReset, kNvme},
    {"nvme", "", "nvme @: Removing after probe failure status: ", kDisk, kReboot, kNvmeGone, kNvme},
    {"nvme", "", "nvme @: Disabling device after reset failure: ", kDisk, kReboot, kNvmeGone,
     kNvme},
    {"nvme", "", "nvme @: Device not ready; aborting ", kDisk, kReboot, kNvmeGone, kNvme},
    {"nvme", "", "nvme @: frozen state error detected, reset controller", kDisk, kNone, kNvmeReset,
     kNvme},
    {"nvme", "", "nvme @: Abort status: ", kDisk, kNone, kNvmeSlow, kNvme},
    // No medium in the drive, or no drive at all: how a virtual machine's firmware looks.
    {"disk", "", "I/O error, dev fd#, sector ", kDisk, kNone, kNoMedium, kBlock},
    {"disk", "", "I/O error, dev sr#, sector ", kDisk, kNone, kNoMedium, kBlock},
    {"disk", "", "blk_update_request: I/O error, dev fd#, sector ", kDisk, kNone, kNoMedium,
     kBlock},
    {"disk", "", "blk_update_request: I/O error, dev sr#, sector ", kDisk, kNone, kNoMedium,
     kBlock},
    {"disk", "", "print_req_error: I/O error, dev fd#, sector ", kDisk, kNone, kNoMedium, kBlock},
    {"disk", "", "print_req_error: I/O error, dev sr#, sector ", kDisk, kNone, kNoMedium, kBlock},
    {"disk", "", "Buffer I/O error on dev fd#, logical block ", kDisk, kNone, kNoMedium, kBlock},
    {"disk", "", "Buffer I/O error on dev sr#, logical block ", kDisk, kNone, kNoMedium, kBlock},
    {"disk", "", "critical target error, dev @, sector # op 0x3:(DISCARD)", kDisk, kNone,
     kNoDiscard, kBlock},
    {"disk", "", "blk_update_request: critical target error, dev @, sector # op 0x3:(DISCARD)",
     kDisk, kNone, kNoDiscard, kBlock},
    {"disk", "", "blk_update_request: critical target error, dev @, sector ", kDisk, kAsk, kMedium,
     kBlock},
    {"disk", "", "print_req_error: critical medium error, dev @, sector ", kDisk, kAsk, kMedium,
     kBlock},
    {"disk", "", "end_request: I/O error, dev @, sector ", kDisk, kAsk, kMedium, kBlock},
    {"disk", "", "end_request: critical medium error, dev @, sector ", kDisk, kAsk, kMedium,
     kBlock},
    {"disk", "", "Buffer I/O error on device @, logical block ", kDisk, kAsk, kMedium,
     "Linux fs/buffer.c"},
    {"disk", "", "md/raid*:@: Disk failure on ", kDisk, kAsk, kMedium, "Linux drivers/md/raid1.c"},
    {"disk", "", "critical medium error, dev @, sector ", kDisk, kAsk, kMedium, kBlock},
    {"disk", "", "critical target error, dev @, sector ", kDisk, kAsk, kMedium, kBlock},
    {"disk", "", "blk_update_request: critical medium error, dev @, sector ", kDisk, kAsk, kMedium,
     kBlock},
    {"disk", "", "blk_update_request: I/O error, dev @, sector ", kDisk, kAsk, kMedium, kBlock},
    {"disk", "", "I/O error, dev @, sector ", kDisk, kAsk, kMedium, kBlock},
    {"disk", "", "print_req_error: I/O error, dev @, sector ", kDisk, kAsk, kMedium, kBlock},
    {"disk", "", "Buffer I/O error on dev @, logical block ", kDisk, kAsk, kMedium,
     "Linux fs/buffer.c"},
    {"scsi", "", "sd @: [@] *Sense Key : Medium Error ", kDisk, kAsk, kMedium, kScsi},
    {"scsi", "", "sd @: [@] *Sense Key : Hardware Error ", kDisk, kAsk, kMedium, kScsi},
    {"scsi", "", "sd @: [@] *FAILED Result: hostbyte=", kDisk, kAsk, kMedium, kScsi},
    {"scsi", "", "sd @: Device offlined - not ready after error recovery", kDisk, kReboot,
     kDiskGone, kScsi},
    {"scsi", "", "sd @: rejecting I/O to offline device", kDisk, kReboot, kDiskGone, kScsi},

    {"mlx5", "mlx5_core", "Link down", kNet, kNone, kNicDown, kMlx5},
    {"mlx5", "mlx5_core", "Port module event[error]: module #, ", kNet, kAsk, kNicCable, kMlx5},
    {"mlx5", "mlx5_core", "Port module event: module #, Cable unplugged", kNet, kNone,
     "a cable or an optical module was pulled", kMlx5},
    {"mlx5", "mlx5_core", "TX timeout detected", kNet, kNone,
     "the network adapter did not send in time; its driver recovers the queue",
     "Linux drivers/net/ethernet/mellanox/mlx5/core/en_main.c"},
    {"mlx5", "mlx5_core", "Error cqe on cqn ", kNet, kNone, kBadWork,
     "Linux drivers/net/ethernet/mellanox/mlx5/core/en/txrx.h"},
    {"mlx5", "mlx5_core", "Health issue observed, High temperature, ", kHeat, kNone, kNicHot,
     kMlx5},
    {"mlx5", "mlx5_core", "Health issue observed, *, severity(4)", kNet, kNone, kNicWarns, kMlx5},
    {"mlx5", "mlx5_core", "Health issue observed, *, severity(5)", kNet, kNone, kNicWarns, kMlx5},
    {"mlx5", "mlx5_core", "Health issue observed, *, severity(6)", kNet, kNone, kNicWarns, kMlx5},
    {"mlx5", "mlx5_core", "Health issue observed, *, severity(#)", kNet, kReset, kNicFatal, kMlx5},
    {"mlx5", "mlx5_core", "synd 0x*: firmware internal error", kNet, kReset, kNicFatal, kMlx5},
    {"mlx5", "mlx5_core", "synd 0x*: irisc not responding", kNet, kReset, kNicFatal, kMlx5},
    {"mlx5", "mlx5_core", "synd 0x*: unrecoverable hardware error", kNet, kReset, kNicFatal, kMlx5},
    {"mlx5", "mlx5_core", "High temperature on sensors with bit set ", kHeat, kNone, kNicHot,
     kMlx5},
    {"mlx5", "mlx5_core", "device's health compromised - reached miss count", kNet, kReset,
     kNicFatal, kMlx5},
    {"mlx5", "mlx5_core", "Fatal error # detected", kNet, kReset, kNicFatal, kMlx5},
    {"mlx5", "mlx5_core", "Fatal error detected", kNet, kReset, kNicFatal, kMlx5},
    {"mlx5", "mlx5_core", "health recovery failed", kNet, kReset, kNicFatal, kMlx5},
    {"mlx5", "mlx5_core", "*timeout. Will cause a leak of a command resource", kNet, kReset,
     kNicSlow, kMlx5},
    {"infiniband", "", "infiniband @: dump_cqe:#:(pid %): dump error cqe", kNet, kNone, kBadWork,
     "Linux drivers/infiniband/hw/mlx5/cq.c"},
    {"infiniband", "mlx4_core", "*Internal error detected:", kNet, kReset, kNicFatal,
     "Linux drivers/net/ethernet/mellanox/mlx4/catas.c"},
    {"infiniband", "mlx5_core", "*transmit timeout: latency ", kNet, kNone, kNicDown,
     "Linux drivers/infiniband/ulp/ipoib/ipoib_main.c"},
    {"infiniband", "", "ib@: transmit timeout: latency ", kNet, kNone, kNicDown,
     "Linux drivers/infiniband/ulp/ipoib/ipoib_main.c"},

    {"efa", "efa", "*Wait for completion (polling) timeout", kNet, kReset, kEfaSilent, kEfa},
    {"efa", "efa", "*The device didn't send any completion for admin cmd ", kNet, kReset,
     kEfaSilent, kEfa},
    {"efa", "efa", "*Reset indication didn't turn o", kNet, kReset, kEfaSilent, kEfa},
    {"efa", "efa", "*Failed to process command ", kNet, kNone, kEfaFailed, kEfa},
    {"efa", "efa", "*Device isn't ready, can't reset device", kNet, kReset, kEfaSilent, kEfa},
    {"efa", "", "infiniband @: Wait for completion (polling) timeout", kNet, kReset, kEfaSilent,
     kEfa},

    {"thermal", "", "mce: CPU#: Core temperature *above threshold, cpu clock *throttled", kHeat,
     kNone, kThrottled, kTherm},
    {"thermal", "", "mce: CPU#: Package temperature *above threshold, cpu clock *throttled", kHeat,
     kNone, kThrottled, kTherm},
    {"thermal", "", "CPU#: Core temperature *above threshold, cpu clock *throttled", kHeat, kNone,
     kThrottled, kTherm},
    {"thermal", "", "CPU#: Package temperature *above threshold, cpu clock *throttled", kHeat,
     kNone, kThrottled, kTherm},
    {"thermal", "", "Critical temperature reached (", kHeat, kAsk, kTooHot,
     "Linux drivers/thermal/thermal_core.c"},
    {"thermal", "", "thermal @: @: critical temperature reached", kHeat, kAsk, kTooHot,
     "Linux drivers/thermal/thermal_core.c"},
    {"thermal", "", "thermal @: critical temperature reached", kHeat, kAsk, kTooHot,
     "Linux drivers/thermal/thermal_core.c"},
});

}  // namespace

std::span<const KernelRule> kernel_rules() {
  return kRules;
}

}  // namespace holdfast
