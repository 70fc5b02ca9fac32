// Any bytes as a line of `journalctl -o json`.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/journal_line.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const auto line = holdfast::kernel_line_of_journal(text);
  if (line && !line->empty()) CHECK(line->find('\n') == std::string::npos);
  return 0;
}
