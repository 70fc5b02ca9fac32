// Any bytes as a line of a kernel log: a finding is complete, and has the line as it was.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "core/diagnose/kernel_log.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(bytes), size);
  if (const auto finding = holdfast::find_in_kernel_line(line)) {
    CHECK(!finding->fault.kind.empty());
    CHECK(!finding->meaning.empty());
    CHECK(!finding->source.empty());
    CHECK(finding->fault.pid >= 0);
    CHECK(line.starts_with(finding->fault.line));
  }
  (void)holdfast::kernel_time(line, 2026);
  return 0;
}
