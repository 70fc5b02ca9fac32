#include "io/host_probe.h"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::ElementsAre;

// A recorded /proc and /sys.
class HostProbe : public ScratchFolder {
 protected:
  void put(const std::string& file, const std::string& text) {
    const std::string full = folder() + file;
    ASSERT_TRUE(make_folder(full.substr(0, full.rfind('/')), 0755).ok());
    ASSERT_TRUE(write_file_atomic(full, text, 0644).ok());
  }
};

TEST_F(HostProbe, ReadsARecordedHost) {
  put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 500 kB\n");
  put("/proc/pressure/memory", "full avg10=0.00 avg60=61.00 avg300=0.00 total=1\n");
  put("/proc/7/stat", "7 (python3) D 1 7 7");
  put("/proc/7/wchan", "nfs_wait_bit_killable");
  put("/proc/8/stat", "8 (gone) Z 1 8 8");
  put("/proc/self/mounts", "/dev/sda1 / ext4 ro 0 0\nserver:/x /home nfs rw 0 0\n");
  put("/sys/class/net/eth0/operstate", "up\n");
  put("/sys/class/net/eth0/device/vendor", "0x15b3\n");
  put("/sys/class/net/eth0/carrier_down_count", "2\n");
  put("/sys/class/net/eth0/statistics/rx_errors", "5\n");
  put("/sys/class/net/eth0/statistics/tx_errors", "1\n");
  put("/sys/class/net/lo/operstate", "unknown\n");
  put("/sys/class/infiniband/mlx5_0/ports/1/state", "1: DOWN\n");
  put("/sys/class/infiniband/mlx5_0/ports/1/counters/link_downed", "3\n");
  put("/sys/class/infiniband/mlx5_0/fw_ver", "28.39.1002\n");
  put("/sys/class/nvme/nvme0/state", "live\n");
  put("/sys/bus/pci/devices/0000:3b:00.0/vendor", "0x10de\n");
  put("/sys/bus/pci/devices/0000:3b:00.0/class", "0x030200\n");
  put("/sys/bus/pci/devices/0000:00:00.0/class", "0x060000\n");
  const HostReading host = read_host(folder());
  EXPECT_EQ(host.memory_available_bytes, 500u * 1024);
  EXPECT_EQ(host.memory_stall, 610u);
  EXPECT_EQ(host.io_stall, std::nullopt);
  EXPECT_THAT(host.blocked, ElementsAre(BlockedProcess{7, "python3", "nfs_wait_bit_killable"}));
  EXPECT_EQ(host.zombies, 1u);
  ASSERT_EQ(host.mounts.size(), 2u);
  EXPECT_TRUE(host.mounts[0].read_only);
  EXPECT_TRUE(host.mounts[0].bytes.has_value());
  EXPECT_FALSE(host.mounts[1].bytes.has_value()) << "a server is not asked";
  EXPECT_EQ(host.clock_synchronized, std::nullopt) << "it is no recording's";
  ASSERT_EQ(host.interfaces.size(), 2u);
  EXPECT_EQ(host.interfaces[0].name, "eth0");
  EXPECT_TRUE(host.interfaces[0].up);
  EXPECT_EQ(host.interfaces[0].downs, 2u);
  EXPECT_EQ(host.interfaces[0].errors, 6u);
  EXPECT_EQ(host.interfaces[1].name, "mlx5_0/1");
  EXPECT_FALSE(host.interfaces[1].up);
  EXPECT_EQ(host.interfaces[1].downs, 3u);
  ASSERT_EQ(host.drives.size(), 1u);
  EXPECT_EQ(host.drives[0].state, "live");
  EXPECT_THAT(host.pci_devices, ElementsAre("0000:3b:00.0 10de accelerator"));
  EXPECT_EQ(read_software(folder()).at("mlx5_0"), "28.39.1002");
}

TEST_F(HostProbe, ReadsTheSoftware) {
  put("/proc/sys/kernel/osrelease", "6.1.0\n");
  put("/proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\nGCC version: x\n");
  put("/etc/os-release", "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
  put("/usr/lib/x86_64-linux-gnu/libnccl.so.2.18.3", "");
  put("/usr/lib/x86_64-linux-gnu/libnccl.so.2", "");
  const auto software = read_software(folder());
  EXPECT_EQ(software.at("kernel"), "6.1.0");
  EXPECT_EQ(software.at("nvidia_driver"), "535.129.03");
  EXPECT_EQ(software.at("os"), "Debian GNU/Linux 12");
  EXPECT_EQ(software.at("nccl"), "2.18.3");
  EXPECT_FALSE(software.contains("bios"));
}

TEST_F(HostProbe, ReadsTheVersionOfEachOfTheTwoDrivers) {
  put("/proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (x@)\n");
  EXPECT_EQ(read_software(folder()).at("nvidia_driver"), "580.159.04");
  put("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module 9.5 \n");
  EXPECT_EQ(read_software(folder()).at("nvidia_driver"), "9.5");
  put("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Kernel Module for x86_64 soon\n");
  EXPECT_FALSE(read_software(folder()).contains("nvidia_driver"));
}

TEST_F(HostProbe, AnEmptyFolderIsAHostThatTellsNothing) {
  const HostReading host = read_host(folder());
  EXPECT_EQ(host.memory_bytes, 0u);
  EXPECT_TRUE(host.mounts.empty());
}

TEST(HostProbeOfThisMachine, TellsWhatEveryLinuxTells) {
  const HostReading host = read_host("/");
  EXPECT_GT(host.memory_bytes, 0u);
  EXPECT_GT(host.memory_available_bytes, 0u);
  EXPECT_FALSE(read_software("/").at("kernel").empty());
}

}  // namespace
}  // namespace holdfast
