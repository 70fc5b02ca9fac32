#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "io/s3_config.h"

// Whatever is in a file or an argument gives a value or an Error, and a URL survives the way back.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  (void)parse_aws_file(text, "file");
  if (const auto url = parse_s3_url(text); url.ok()) {
    const auto again = parse_s3_url("s3://" + url->bucket + "/" + url->prefix);
    CHECK(again.ok() && *again == *url);
  }
  return 0;
}
