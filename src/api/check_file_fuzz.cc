// Any bytes as a file or a request of deep checks: values within their ranges, or an error.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/check_file.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  if (const auto checks = holdfast::parse_check_file(text, "checks.yaml"); checks.ok()) {
    CHECK(checks->load > holdfast::Duration{} && checks->load * 2 <= checks->test_budget);
    CHECK(checks->test_budget <= checks->budget);
    for (const auto& floor : checks->floors) CHECK(floor.value >= 0 && !floor.test.empty());
  } else {
    CHECK(!checks.error().detail.empty());
  }
  if (const auto request = holdfast::parse_check_request(text); request.ok())
    CHECK(!request->nodes.empty() && request->nodes.size() <= 3000);
  return 0;
}
