#include "engine/checkpoint/manifest.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
  using namespace holdfast::engine;
  const std::string text(reinterpret_cast<const char*>(bytes), size);
  const auto manifest = read_manifest(text, "m", std::nullopt, 3, 120);
  // What is accepted is written back as the same.
  if (manifest.ok() &&
      !(read_manifest(write_manifest(*manifest), "m", std::nullopt, 3, 120).value() == *manifest))
    std::abort();
  static_cast<void>(read_entry(text, "e", 1));
  static_cast<void>(read_index(text, "i", 1 << 20));
  static_cast<void>(read_lineage(text, "l", 5));
  static_cast<void>(read_pieces(text));
  return 0;
}
