#include "io/host_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(HostFiles, Meminfo) {
  const auto memory = parse_meminfo(
      "MemTotal:       131898240 kB\nMemFree:         1 kB\nMemAvailable:   96468992 kB\n");
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->total_bytes, 131898240ull * 1024);
  EXPECT_EQ(memory->available_bytes, 96468992ull * 1024);
  EXPECT_FALSE(parse_meminfo("MemTotal: 5 kB\n"));
  EXPECT_FALSE(parse_meminfo(""));
  EXPECT_FALSE(parse_meminfo("MemTotal: 99999999999999999999 kB\nMemAvailable: 1 kB\n"));
}

TEST(HostFiles, Pressure) {
  EXPECT_EQ(parse_pressure("some avg10=9.00 avg60=90.00 avg300=0.00 total=1\n"
                           "full avg10=0.00 avg60=12.34 avg300=0.00 total=1\n"),
            123u);
  EXPECT_EQ(parse_pressure("full avg10=0.00 avg60=100.00 avg300=0.00 total=1\n"), 1000u);
  EXPECT_EQ(parse_pressure("some avg10=0.00 avg60=1.00 avg300=0.00 total=1\n"), std::nullopt);
  EXPECT_EQ(parse_pressure("full avg60=x\n"), std::nullopt);
  EXPECT_EQ(parse_pressure("full avg60=101.0\n"), std::nullopt);
}

TEST(HostFiles, MountsThatAreBackedByADiskOrAServer) {
  const auto mounts = parse_mounts(
      "/dev/sda1 / ext4 rw,relatime 0 0\n"
      "proc /proc proc rw 0 0\n"
      "/dev/nvme0n1 /mnt/a\\040b xfs ro,noatime 0 0\n"
      "/dev/loop3 /snap/core squashfs ro 0 0\n"
      "/dev/sda1 /etc/hosts ext4 rw 0 0\n"
      "server:/export /home nfs4 rw,vers=4.2 0 0\n"
      "tmpfs /run tmpfs rw 0 0\n"
      "half a line");
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[0].path, "/");
  EXPECT_FALSE(mounts[0].read_only);
  EXPECT_EQ(mounts[1].path, "/mnt/a b");
  EXPECT_TRUE(mounts[1].read_only);
  EXPECT_EQ(mounts[2].device, "server:/export");
  // A container's root has no device.
  EXPECT_EQ(parse_mounts("overlay / overlay rw,lowerdir=x 0 0\n").size(), 1u);
}

TEST(HostFiles, ProcessesMayBeNamedAnything) {
  const auto process = parse_process_stat("42 (a) S (b) D 1 42 42 0 -1");
  ASSERT_TRUE(process);
  EXPECT_EQ(process->pid, 42);
  EXPECT_EQ(process->name, "a) S (b");
  EXPECT_EQ(process->state, 'D');
  for (const char* bad : {"", "42", "42 (a", "x (a) D", ") 1 (", "42 (a) "})
    EXPECT_FALSE(parse_process_stat(bad)) << bad;
}

TEST(HostFiles, Numbers) {
  EXPECT_EQ(parse_number("17\n"), 17u);
  EXPECT_EQ(parse_number("0x10de\n"), 0x10deu);
  EXPECT_EQ(parse_number("-1\n"), std::nullopt);
  EXPECT_EQ(parse_number(""), std::nullopt);
}

TEST(HostFiles, SmartLog) {
  std::string log(512, '\0');
  log[0] = 4;
  log[3] = 90;
  log[4] = 10;
  log[5] = static_cast<char>(130);
  DriveReading drive;
  EXPECT_TRUE(parse_smart_log(log, drive));
  EXPECT_EQ(drive.critical_warning, 4u);
  EXPECT_EQ(drive.spare_percent, 90u);
  EXPECT_EQ(drive.spare_percent_min, 10u);
  EXPECT_EQ(drive.used_percent, 130u);
  EXPECT_FALSE(parse_smart_log(log.substr(1), drive));
}

TEST(HostFiles, KindsOfDevicesThatMatter) {
  EXPECT_EQ(pci_kind(0x10de, 0x030200), "accelerator");
  EXPECT_EQ(pci_kind(0x10de, 0x030000), "accelerator");
  EXPECT_EQ(pci_kind(0x1a03, 0x030000), "") << "the board's own display";
  EXPECT_EQ(pci_kind(0x1d0f, 0x120000), "accelerator");
  EXPECT_EQ(pci_kind(0x15b3, 0x020700), "network");
  EXPECT_EQ(pci_kind(0x144d, 0x010802), "drive");
  EXPECT_EQ(pci_kind(0x8086, 0x060000), "");
}

}  // namespace
}  // namespace holdfast
