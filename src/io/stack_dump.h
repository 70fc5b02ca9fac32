#pragma once

#include <sys/types.h>

#include <string>

namespace holdfast {

// What the kernel tells about where a process stands, per thread: name, state, the function that it
// waits in, and its kernel stack where we may read it. For programs that cannot dump their own
// stacks. Empty: no such process. At most 64 threads.
[[nodiscard]] std::string kernel_stacks(pid_t pid);

}  // namespace holdfast
