// What /proc, /sys and the clock tell of a host.

#include <algorithm>
#include <array>

#include "core/health/health_rules.h"

namespace holdfast {
namespace {

constexpr auto kHost = CauseClass::kHost;
constexpr auto kDisk = CauseClass::kStorage;
constexpr auto kNet = CauseClass::kInterconnect;
constexpr auto kMemory = CauseClass::kOutOfMemory;
constexpr auto kAway = Action::kRestartOnOtherNodes;

constexpr std::string_view kKubelet =
    "Kubernetes kubelet's hard eviction signals, kubernetes.io/docs/concepts/"
    "scheduling-eviction/node-pressure-eviction";
constexpr std::string_view kPsi = "Linux Documentation/accounting/psi.rst, systemd-oomd's default";

// Limits. Of Kubernetes: memory.available < 100Mi, nodefs.available < 10%, inodesFree < 5%.
constexpr std::uint64_t kMemoryLeast = 100ull << 20;
constexpr std::uint64_t kSpaceLeast = 256ull << 20;
constexpr std::uint32_t kStallMost = 600;  // per mille of a minute: systemd-oomd's 60 %
constexpr std::uint32_t kZombiesMost = 500;
constexpr std::int64_t kClockOffMost = 500'000'000;  // ns

constexpr auto kRules = std::to_array<HealthRule>({
    {"memory_low", kMemory, Action::kNone, 2, "less than 100 MiB of memory is available",
     "the kernel's own kill for memory names who took it; evidence until then", kKubelet},
    {"memory_stalls", kMemory, Action::kNone, 2,
     "all tasks waited for memory in 60 % of the last minute",
     "slow is not broken; it is evidence for who looks at a slow job", kPsi},
    {"io_stalls", kDisk, Action::kNone, 3, "all tasks waited for a disk in 60 % of the last minute",
     "slow is not broken; it is evidence for who looks at a slow job", kPsi},
    {"blocked_process", CauseClass::kUnknown, Action::kNone, 12,
     "a process sleeps uninterruptibly in look after look",
     "it waits for a disk, a server or a driver, whose own rules say what to do",
     "Linux kernel/hung_task.c: 120 s"},
    {"zombies", kHost, Action::kNone, 3, "more than 500 ended processes that nobody has waited for",
     "they hold nothing but their number; the parent that leaves them is a program's mistake",
     "Linux man-pages, wait(2)"},
    {"space_low", kDisk, Action::kNone, 2, "less than 10 % of a file system is free",
     "there is room yet; a person should know", kKubelet},
    {"space_full", kDisk, kAway, 2, "less than 1 % and less than 256 MiB of a file system are free",
     "what runs here next cannot write; over by itself when there is room", kKubelet},
    {"inodes_low", kDisk, kAway, 2, "less than 1 % of a file system's inodes are free",
     "what runs here next can make no file; over by itself when there is room", kKubelet},
    {"read_only", kDisk, Action::kRebootNode, 2, "a file system that was writable is read-only",
     "the kernel does that after an error; it is checked and mounted anew at the next start",
     "Linux fs/ext4/super.c: errors=remount-ro"},
    {"clock_off", kHost, Action::kNone, 3, "the clock is off by more than 500 ms",
     "logs and certificates suffer before training does", "Linux man-pages, adjtimex(2)"},
    {"clock_unsynchronized", kHost, Action::kNone, 3, "nothing keeps the clock in step",
     "logs and certificates suffer before training does", "Linux man-pages, adjtimex(2)"},
    {"link_down", kNet, kAway, 2, "a network interface that was up is down",
     "a port that flaps comes back by itself within half a minute (ByteRobust, SOSP'25, table 3)",
     "Linux Documentation/ABI/testing/sysfs-class-net, sysfs-class-infiniband"},
    {"link_flaps", kNet, Action::kNone, 1, "a network interface went down since the last look",
     "one flap is no fault (ByteRobust tolerates two alerts in 5 minutes)",
     "Linux Documentation/ABI/testing/sysfs-class-net, sysfs-class-infiniband"},
    {"link_errors", kNet, Action::kNone, 2, "a network interface counts more errors",
     "what was damaged is sent again; evidence for who looks at a slow job",
     "Linux Documentation/ABI/testing/sysfs-class-net-statistics, sysfs-class-infiniband"},
    {"nvme_dead", kDisk, Action::kRebootNode, 2, "an NVMe controller is dead",
     "the kernel gave it up; a restart is what may bring it back",
     "Linux drivers/nvme/host/core.c"},
    {"nvme_wear", kDisk, Action::kAskOperator, 2,
     "an NVMe drive warns (spare, reliability, read-only), or its rated life is used up",
     "it works yet: someone should exchange it in a quiet hour",
     "NVM Express base specification, SMART / Health Information log"},
    {"device_missing", kHost, Action::kRebootNode, 2,
     "an accelerator, network adapter or drive that was on the PCI bus is not",
     "a restart counts the bus anew", "Linux Documentation/ABI/testing/sysfs-bus-pci"},
    {"host_probe_slow", kDisk, Action::kNone, 1, "a look at the host did not end in time",
     "most often a file server that does not answer; what is tried next shows it",
     "Holdfast's own probe"},
    {"host_probe_stuck", kDisk, kAway, 1,
     "a look at the host waits in the kernel and cannot be killed",
     "a mount or a disk does not answer, and what runs here next would wait too",
     "Linux Documentation/process"},
});

std::string number(std::uint64_t value) {
  return std::to_string(value);
}
std::string mib(std::uint64_t bytes) {
  return number(bytes >> 20) + " MiB";
}

template <class T>
const T* find(const std::vector<T>& in, const std::string& key, std::string T::*name) {
  const auto at = std::ranges::find(in, key, name);
  return at == in.end() ? nullptr : &*at;
}

using Faults = std::vector<Fault>;

void judge_memory(const HostReading& now, Faults& out) {
  if (now.memory_bytes > 0 && now.memory_available_bytes < kMemoryLeast)
    out.push_back(
        fault_of("memory_low", "",
                 mib(now.memory_available_bytes) + " available of " + mib(now.memory_bytes)));
  if (now.memory_stall.value_or(0) >= kStallMost)
    out.push_back(fault_of("memory_stalls", "",
                           "memory pressure, full: " + number(*now.memory_stall / 10) + " %"));
  if (now.io_stall.value_or(0) >= kStallMost)
    out.push_back(
        fault_of("io_stalls", "", "io pressure, full: " + number(*now.io_stall / 10) + " %"));
}

void judge_processes(const HostReading& now, Faults& out) {
  constexpr std::size_t kNamed = 4;
  for (std::size_t i = 0; i < now.blocked.size() && i < kNamed; ++i) {
    const BlockedProcess& one = now.blocked[i];
    out.push_back(fault_of("blocked_process", std::to_string(one.pid),
                           "process " + std::to_string(one.pid) + " (" + one.name + ")" +
                               (one.waits_in.empty() ? "" : " waits in " + one.waits_in)));
    out.back().pid = one.pid;
  }
  if (now.zombies > kZombiesMost)
    out.push_back(fault_of("zombies", "", number(now.zombies) + " zombies"));
}

void judge_mount(const MountReading& now, const MountReading* first, Faults& out) {
  const auto share_below = [](auto free, auto all, std::uint64_t percent) {
    return all && free && *all > 0 && *free / percent < *all / 100;
  };
  const std::string where = now.path + " (" + now.device + "): ";
  if (now.read_only && first != nullptr && !first->read_only)
    out.push_back(fault_of("read_only", now.path, where + "read-only"));
  if (now.read_only) return;
  if (share_below(now.bytes_free, now.bytes, 1) && *now.bytes_free < kSpaceLeast)
    out.push_back(fault_of("space_full", now.path,
                           where + mib(*now.bytes_free) + " free of " + mib(*now.bytes)));
  else if (share_below(now.bytes_free, now.bytes, 10))
    out.push_back(fault_of("space_low", now.path,
                           where + mib(*now.bytes_free) + " free of " + mib(*now.bytes)));
  if (share_below(now.inodes_free, now.inodes, 1))
    out.push_back(
        fault_of("inodes_low", now.path,
                 where + number(*now.inodes_free) + " inodes free of " + number(*now.inodes)));
}

void judge_clock(const HostReading& now, Faults& out) {
  const std::int64_t off = now.clock_offset_ns.value_or(0);
  if (now.clock_synchronized == false)
    out.push_back(fault_of("clock_unsynchronized", "", "the kernel's clock is not synchronized"));
  if (off > kClockOffMost || off < -kClockOffMost)
    out.push_back(fault_of("clock_off", "", "off by " + std::to_string(off / 1'000'000) + " ms"));
}

void judge_interface(const InterfaceReading& now, const InterfaceReading* first,
                     const InterfaceReading* last, Faults& out) {
  if (!now.up && first != nullptr && first->up)
    out.push_back(fault_of("link_down", now.name, now.name + " is down"));
  if (last == nullptr) return;
  if (now.downs > last->downs)
    out.push_back(fault_of("link_flaps", now.name,
                           now.name + " went down " + number(now.downs - last->downs) +
                               " time(s) since the last look"));
  if (now.errors > last->errors)
    out.push_back(
        fault_of("link_errors", now.name,
                 now.name + ": errors " + number(last->errors) + " -> " + number(now.errors)));
}

void judge_drive(const DriveReading& now, Faults& out) {
  if (now.state == "dead") out.push_back(fault_of("nvme_dead", now.name, now.name + " is dead"));
  std::string wear;
  if (now.critical_warning.value_or(0) != 0)
    wear = "critical warning " + number(*now.critical_warning);
  else if (now.used_percent.value_or(0) >= 100)
    wear = number(*now.used_percent) + " % of its rated life used";
  if (!wear.empty())
    out.push_back(fault_of(
        "nvme_wear", now.name,
        now.name + ": " + wear + ", spare " + number(now.spare_percent.value_or(0)) + " %"));
}

}  // namespace

std::span<const HealthRule> host_rules() {
  return kRules;
}

std::vector<Fault> judge_host(const HostBaseline& before, const HostReading& now, Duration) {
  Faults out;
  judge_memory(now, out);
  judge_processes(now, out);
  judge_clock(now, out);
  const HostReading none;
  const HostReading& first = before.first ? *before.first : none;
  const HostReading& last = before.last ? *before.last : none;
  for (const MountReading& mount : now.mounts)
    judge_mount(mount, find(first.mounts, mount.path, &MountReading::path), out);
  for (const InterfaceReading& one : now.interfaces)
    judge_interface(one, find(first.interfaces, one.name, &InterfaceReading::name),
                    find(last.interfaces, one.name, &InterfaceReading::name), out);
  for (const DriveReading& drive : now.drives) judge_drive(drive, out);
  for (const std::string& device : first.pci_devices)
    if (std::ranges::find(now.pci_devices, device) == now.pci_devices.end())
      out.push_back(fault_of("device_missing", short_pci(device.substr(0, device.find(' '))),
                             device + " is no longer on the bus"));
  return out;
}

}  // namespace holdfast
