// Any bytes: each parser ends with a value or with nothing.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "io/host_files.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  if (const auto stall = holdfast::parse_pressure(text)) CHECK(*stall <= 1009);
  static_cast<void>(holdfast::parse_meminfo(text));
  CHECK(holdfast::parse_mounts(text).size() <= 256);
  static_cast<void>(holdfast::parse_process_stat(text));
  static_cast<void>(holdfast::parse_number(text));
  holdfast::DriveReading drive;
  CHECK(holdfast::parse_smart_log(text, drive) == (size >= 512));
  return 0;
}
