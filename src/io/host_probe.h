#pragma once

#include <map>
#include <string>

#include "model/readings.h"

namespace holdfast {

// Looks at the host: /proc, /sys, its file systems, clock and drives. `root` is "/", or a folder
// that holds a recorded /proc and /sys, of which the clock and drives' logs are no part. A look may
// hang (a file server, a disk): call it from a process that may be given up (`holdfast probe`).
[[nodiscard]] HostReading read_host(const std::string& root);

// The software of this machine: "kernel", "os", "bios", "nvidia_driver", "nccl", "cuda", "glibc",
// "mlx5_0" (firmware), ... to version; what is not there is left out. Reads a few small files.
[[nodiscard]] std::map<std::string, std::string> read_software(const std::string& root);

}  // namespace holdfast
