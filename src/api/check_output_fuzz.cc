// Any bytes as the output of a check: results that can be kept, and a verdict that follows the end.

#include <cstddef>
#include <cstdint>
#include <string>

#include "api/check_output.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  holdfast::CheckOutput output;
  output.code = bytes[0] & 1;
  output.signal = (bytes[0] & 2) != 0 ? 9 : 0;
  output.timed_out = (bytes[0] & 4) != 0;
  output.flooded = (bytes[0] & 8) != 0;
  output.text.assign(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  for (const auto& results :
       {holdfast::read_check_output("script", output), holdfast::read_fio_output(output),
        holdfast::read_dcgmi_output(output), holdfast::read_nccl_output(output)}) {
    CHECK(!results.empty() && results.size() <= holdfast::kCheckResultsMax + 1);
    bool failed = false;
    for (const holdfast::CheckResult& result : results) {
      CHECK(!result.test.empty() && result.test.size() <= 512);
      CHECK(result.value >= 0);
      failed = failed || result.verdict == holdfast::CheckVerdict::kFailed;
    }
    CHECK(failed || bytes[0] % 16 == 0);
  }
  return 0;
}
