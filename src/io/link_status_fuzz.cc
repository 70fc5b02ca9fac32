// Any status that the other end sends becomes an Error, and ours come back as they were.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "io/link_status.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  const auto cut = std::min(text.find('\n'), text.size());
  const grpc::Status status(static_cast<grpc::StatusCode>(bytes[0] % 20), text.substr(0, cut),
                            text.substr(std::min(cut + 1, text.size())));
  const Error error = from_status(status);
  CHECK(!code_of(error.code).empty());
  const Error again = from_status(to_status(error));
  CHECK(again.code == error.code);
  CHECK(error.detail.starts_with(again.detail));
  return 0;
}
