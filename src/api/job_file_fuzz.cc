// Any text as a job's file and as a request's body: a job that passes its own check and comes back
// as it was from the body that a client makes of it, or an error that a person can read.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/job_file.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const auto from_file = parse_job_file(text, "job.yaml", "/folder");
  if (!from_file.ok()) CHECK(from_file.error().detail.starts_with("job.yaml:"));
  for (const auto& spec : {from_file, parse_job_body(text)}) {
    if (!spec.ok()) continue;
    CHECK(check_job_spec(*spec).ok());
    const auto again = parse_job_body(render_job_body(*spec));
    CHECK(again.ok() && *again == *spec);
  }
  (void)parse_bytes(text, "field");
  return 0;
}
