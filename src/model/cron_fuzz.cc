#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/cron.h"

// Whatever a person writes gives a schedule or an Error; the times of a schedule only go forward.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const auto schedule = parse_cron(text);
  if (!schedule.ok()) return 0;
  WallTime at{};
  for (int i = 0; i < 4; ++i) {
    const auto next = next_after(*schedule, at);
    if (!next) break;
    CHECK(*next > at);
    at = *next;
  }
  return 0;
}
