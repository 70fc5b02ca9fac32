// Whatever a provider's program writes is an answer within its limits, or an error that can be
// shown.

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "drivers/exec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const std::string text(reinterpret_cast<const char*>(bytes), size);
  const auto answer = parse_exec_answer(text);
  if (answer.ok())
    CHECK(answer->after >= Duration{} && answer->after <= seconds(3600));
  else
    CHECK(answer.error().detail.size() < 4096);
  const auto gone = parse_exec_description(text, {NodeId{1}, NodeId{2}});
  if (gone.ok()) CHECK(gone->size() <= 2);
  return 0;
}
