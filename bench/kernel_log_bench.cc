// What a line of a kernel log costs: kernel_log_bench. One thread; items_per_second is lines/s.

#include <array>
#include <string>
#include <string_view>

#include <benchmark/benchmark.h>

#include "core/diagnose/kernel_log.h"

namespace holdfast {
namespace {

// Messages that machines write all day, in the formats of the kernel, systemd and common drivers.
constexpr auto kOrdinary = std::to_array<std::string_view>({
    "usb 1-1.4: new high-speed USB device number 7 using xhci_hcd",
    "IPv6: ADDRCONF(NETDEV_CHANGE): veth1a2b3c4: link becomes ready",
    "docker0: port 1(veth1a2b3c4) entered blocking state",
    "docker0: port 1(veth1a2b3c4) entered forwarding state",
    "audit: type=1400 audit(1795493179.123:77): apparmor=\"STATUS\" operation=\"profile_load\"",
    "systemd[1]: Started Session 42 of user operator.",
    "systemd-journald[412]: Received client request to flush runtime journal.",
    "EXT4-fs (nvme0n1p2): mounted filesystem with ordered data mode. Quota mode: none.",
    "nvme nvme0: 32/0/0 default/read/poll queues",
    "mlx5_core 0000:3b:00.0 ens1f0np0: Link up",
    "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024",
    "nvidia-nvlink: Nvlink Core is being initialized, major device number 508",
    "perf: interrupt took too long (2512 > 2500), lowering kernel.perf_event_max_sample_rate",
    "pcieport 0000:00:01.0: PME: Signaling with IRQ 122",
    "python3[4242]: segfault at 0 ip 00007f12 sp 00007ffe error 4 in libtorch_cpu.so[7f12+1000]",
    "TCP: request_sock_TCP: Possible SYN flooding on port 29500. Sending cookies.",
    "IPVS: Registered protocols (TCP, UDP, SCTP, AH, ESP)",
    "ena 0000:00:05.0 eth0: Local page cache is disabled for less than 16 channels",
    "nfs: Deprecated parameter 'intr'",
    "workqueue: blk_mq_run_work_fn hogged CPU for >10000us 4 times, consider switching",
});

std::string framed(std::string_view message, int frame, int number) {
  const std::string stamp = std::to_string(1000 + number) + ".123456";
  switch (frame) {
    case 0:
      return "6," + std::to_string(number) + "," + std::to_string(number) + "000,-;" +
             std::string(message);
    case 1:
      return "[ " + stamp + "] " + std::string(message);
    default:
      return "Nov 24 04:06:19 node-3 kernel: [ " + stamp + "] " + std::string(message);
  }
}

// frame 0: /dev/kmsg, 1: dmesg, 2: syslog. faults: every 1000th line is an Xid.
void lines(benchmark::State& state) {
  std::string log;
  std::int64_t count = 0;
  for (int i = 0; i < 100'000; ++i, ++count) {
    const bool fault = state.range(1) != 0 && i % 1000 == 0;
    log += framed(fault ? "NVRM: Xid (PCI:0000:b9:00): 79, pid=1, GPU has fallen off the bus."
                        : kOrdinary[static_cast<std::size_t>(i) % kOrdinary.size()],
                  static_cast<int>(state.range(0)), i);
    log += '\n';
  }
  std::int64_t found = 0;
  for (auto _ : state) {
    std::string_view rest = log;
    while (!rest.empty()) {
      const auto end = rest.find('\n');
      found += find_in_kernel_line(rest.substr(0, end)).has_value() ? 1 : 0;
      rest.remove_prefix(end + 1);
    }
  }
  benchmark::DoNotOptimize(found);
  state.SetItemsProcessed(state.iterations() * count);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(log.size()));
}
BENCHMARK(lines)->ArgNames({"frame", "faults"})->ArgsProduct({{0, 1, 2}, {0, 1}});

}  // namespace
}  // namespace holdfast

BENCHMARK_MAIN();
