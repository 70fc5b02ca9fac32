#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "engine/safetensors/safetensors.h"

// Whatever a file holds gives a header or an Error, and what is accepted lies in the file and is
// written back as the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast::engine;
  const std::string_view file(reinterpret_cast<const char*>(bytes), size);
  // Half of the runs get a length that fits, so that the header is what is fuzzed.
  const auto length = safetensors_header_bytes(file, size, "f");
  const std::string_view text = length.ok() ? file.substr(8, *length) : file;
  const std::uint64_t file_bytes = length.ok() ? size : 8 + size + (size > 0 ? bytes[size - 1] : 0);
  auto header = read_safetensors_header(text, file_bytes, "f");
  if (!header.ok()) return 0;
  for (const SafeTensor& tensor : header->tensors)
    CHECK(tensor.begin >= 8 + text.size() && tensor.begin <= tensor.end &&
          tensor.end <= file_bytes);
  SafetensorsHeader again = *header;
  const auto front = lay_out_safetensors(again);
  CHECK(front.ok());
  const std::uint64_t end = again.tensors.empty() ? front->size() : again.tensors.back().end;
  const auto back = read_safetensors_header(std::string_view(*front).substr(8), end, "f");
  CHECK(back.ok() && back->tensors.size() == header->tensors.size());
  return 0;
}
