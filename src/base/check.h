#pragma once

#include <string_view>

namespace holdfast {

// Prints and aborts with a core file. For programmer errors only: input from a wire, a disk or a
// person never reaches it.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

// Ends the process for a dead-end environment at start (data folder not writable, port taken), at
// the place that knows most about it. Exit codes: docs/errors/README.md.
[[noreturn]] void fatal(int exit_code, std::string_view reason);

}  // namespace holdfast

// Always on, also in release builds: a stopped control plane is restarted from its journal, a wrong
// one corrupts it.
#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::holdfast::check_failed(#condition, __FILE__, __LINE__))
