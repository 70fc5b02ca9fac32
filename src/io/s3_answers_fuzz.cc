#include <cstddef>
#include <cstdint>
#include <string_view>

#include "io/s3_answers.h"

// Whatever a store, or something that stands in its place, answers gives a value or an Error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const std::string_view body(reinterpret_cast<const char*>(bytes), size);
  (void)read_s3_error(body);
  (void)read_upload_id(body);
  (void)read_completion(body);
  (void)read_list(body);
  (void)read_uploads(body);
  (void)read_content_range(body);
  return 0;
}
