#include "io/host_probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <sstream>

#include "io/files.h"
#include "io/host_files.h"
#include "io/utf8.h"

namespace holdfast {
namespace {

constexpr std::size_t kFileMax = 1 << 20;
constexpr std::size_t kBlockedMax = 64;

std::vector<std::string> entries_of(const std::string& folder) {
  std::vector<std::string> names;
  DIR* stream = ::opendir(folder.c_str());
  if (stream == nullptr) return names;
  while (const dirent* entry = ::readdir(stream))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  ::closedir(stream);
  std::ranges::sort(names);
  return names;
}

std::string text_of(const std::string& path) {
  const Result<std::string> text = read_file(path, kFileMax);
  return text.ok() ? *text : std::string();
}

std::string first_line(const std::string& path) {
  std::string text = text_of(path);
  text.resize(std::min(text.find('\n'), text.size()));
  return valid_utf8(text);
}

std::uint64_t count_of(const std::string& path) {
  return parse_number(text_of(path)).value_or(0);
}

void read_processes(const std::string& root, HostReading& reading) {
  for (const std::string& name : entries_of(root + "/proc")) {
    if (name[0] < '0' || name[0] > '9') continue;
    const auto process = parse_process_stat(text_of(root + "/proc/" + name + "/stat"));
    if (!process) continue;
    if (process->state == 'Z') ++reading.zombies;
    if (process->state != 'D' || reading.blocked.size() >= kBlockedMax) continue;
    reading.blocked.push_back(
        {process->pid, process->name, first_line(root + "/proc/" + name + "/wchan")});
  }
}

void read_mounts(const std::string& root, HostReading& reading) {
  reading.mounts = parse_mounts(text_of(root + "/proc/self/mounts"));
  for (MountReading& mount : reading.mounts) {
    // A file server's answer may never come, and its room is not this host's.
    const bool is_local = mount.device.find(':') == std::string::npos;
    struct statvfs space {};
    if (!is_local || ::statvfs((root + mount.path).c_str(), &space) != 0) continue;
    mount.bytes = std::uint64_t{space.f_blocks} * space.f_frsize;
    mount.bytes_free = std::uint64_t{space.f_bavail} * space.f_frsize;
    if (space.f_files == 0) continue;  // the file system makes them as needed
    mount.inodes = space.f_files;
    mount.inodes_free = space.f_favail;
  }
}

void read_clock(HostReading& reading) {
  struct timex clock {};
  const int state = ::adjtimex(&clock);  // modes 0: reads
  if (state < 0) return;
  reading.clock_synchronized = state != TIME_ERROR && (clock.status & STA_UNSYNC) == 0;
  reading.clock_offset_ns =
      std::int64_t{clock.offset} * ((clock.status & STA_NANO) != 0 ? 1 : 1000);
}

void read_interfaces(const std::string& root, HostReading& reading) {
  const std::string net = root + "/sys/class/net/";
  for (const std::string& name : entries_of(net)) {
    const std::string folder = net + name;
    if (::access((folder + "/device").c_str(), F_OK) != 0) continue;  // a bridge, a tunnel, lo
    const std::string counters = folder + "/statistics/";
    reading.interfaces.push_back(
        {name, first_line(folder + "/operstate") == "up", count_of(folder + "/carrier_down_count"),
         count_of(counters + "rx_errors") + count_of(counters + "tx_errors")});
  }
  const std::string fabric = root + "/sys/class/infiniband/";
  for (const std::string& device : entries_of(fabric))
    for (const std::string& port : entries_of(fabric + device + "/ports")) {
      const std::string folder = fabric + device + "/ports/" + port;
      const std::string counters = folder + "/counters/";
      reading.interfaces.push_back(
          {device + "/" + port, first_line(folder + "/state").starts_with("4:"),  // ACTIVE
           count_of(counters + "link_downed"),
           count_of(counters + "symbol_error") + count_of(counters + "link_error_recovery") +
               count_of(counters + "port_rcv_errors")});
    }
}

void read_smart_log(const std::string& name, DriveReading& drive) {
  const Result<UniqueFd> device = open_file("/dev/" + name, O_RDONLY);
  if (!device.ok()) return;
  std::array<char, 512> log{};
  nvme_admin_cmd command{};
  command.opcode = 0x02;  // get log page
  command.nsid = 0xffffffff;
  command.addr = reinterpret_cast<std::uintptr_t>(log.data());
  command.data_len = log.size();
  command.cdw10 = 0x02 | (log.size() / 4 - 1) << 16;  // SMART / Health Information
  if (::ioctl(device->get(), NVME_IOCTL_ADMIN_CMD, &command) == 0)
    static_cast<void>(parse_smart_log({log.data(), log.size()}, drive));
}

void read_drives(const std::string& root, HostReading& reading) {
  for (const std::string& name : entries_of(root + "/sys/class/nvme")) {
    DriveReading drive{name, first_line(root + "/sys/class/nvme/" + name + "/state"), {}, {}, {},
                       {}};
    if (root.empty()) read_smart_log(name, drive);
    reading.drives.push_back(std::move(drive));
  }
}

void read_bus(const std::string& root, HostReading& reading) {
  const std::string bus = root + "/sys/bus/pci/devices/";
  for (const std::string& address : entries_of(bus)) {
    const std::uint64_t vendor = count_of(bus + address + "/vendor");
    const std::string kind = pci_kind(vendor, count_of(bus + address + "/class"));
    if (kind.empty()) continue;
    std::string hex = first_line(bus + address + "/vendor");
    reading.pci_devices.push_back(address + " " + hex.substr(std::min<std::size_t>(2, hex.size())) +
                                  " " + kind);
  }
}

// libnccl.so.2 -> libnccl.so.2.18.3: the version that is in its name.
std::string library_version(const std::string& root, const std::string& name) {
  for (const char* folder : {"/usr/lib/x86_64-linux-gnu/", "/usr/lib/aarch64-linux-gnu/",
                             "/usr/lib64/", "/usr/local/lib/", "/usr/local/cuda/lib64/"})
    for (const std::string& entry : entries_of(root + folder))
      if (entry.starts_with(name + ".so.") && entry.find('.', name.size() + 4) != entry.npos)
        return valid_utf8(entry.substr(name.size() + 4));
  return {};
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu ..." and, of the open driver,
// "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release ...": the first
// word of digits and dots.
std::string driver_version(const std::string& text) {
  std::istringstream words(text);
  for (std::string word; words >> word;)
    if (word.find('.') != word.npos && word.find_first_not_of("0123456789.") == word.npos)
      return word;
  return {};
}

}  // namespace

HostReading read_host(const std::string& given) {
  const std::string root = given == "/" ? std::string() : given;
  HostReading reading;
  if (const auto memory = parse_meminfo(text_of(root + "/proc/meminfo"))) {
    reading.memory_bytes = memory->total_bytes;
    reading.memory_available_bytes = memory->available_bytes;
  }
  reading.memory_stall = parse_pressure(text_of(root + "/proc/pressure/memory"));
  reading.io_stall = parse_pressure(text_of(root + "/proc/pressure/io"));
  read_processes(root, reading);
  read_mounts(root, reading);
  if (root.empty()) read_clock(reading);
  read_interfaces(root, reading);
  read_drives(root, reading);
  read_bus(root, reading);
  return reading;
}

std::map<std::string, std::string> read_software(const std::string& given) {
  const std::string root = given == "/" ? std::string() : given;
  std::map<std::string, std::string> software{
      {"kernel", first_line(root + "/proc/sys/kernel/osrelease")},
      {"bios", first_line(root + "/sys/class/dmi/id/bios_version")},
      {"nvidia_driver", driver_version(first_line(root + "/proc/driver/nvidia/version"))},
      {"nccl", library_version(root, "libnccl")},
      {"cuda", library_version(root, "libcuda")},
      {"cudart", library_version(root, "libcudart")},
      {"efa", first_line(root + "/sys/module/efa/version")}};
  if (root.empty()) software["glibc"] = ::gnu_get_libc_version();
  std::string os = text_of(root + "/etc/os-release");
  constexpr std::string_view kPretty = "PRETTY_NAME=\"";
  if (const auto at = os.find(kPretty); at != std::string::npos)
    software["os"] = valid_utf8(os.substr(
        at + kPretty.size(), os.find_first_of("\"\n", at + kPretty.size()) - at - kPretty.size()));
  for (const std::string& device : entries_of(root + "/sys/class/infiniband"))
    software[device] = first_line(root + "/sys/class/infiniband/" + device + "/fw_ver");
  std::erase_if(software, [](const auto& entry) { return entry.second.empty(); });
  return software;
}

}  // namespace holdfast
