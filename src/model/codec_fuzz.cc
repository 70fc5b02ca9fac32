// Any bytes: decoding ends with a value that can be written and read again, or with an error.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  if (const auto event = holdfast::decode_event(text); event.ok())
    CHECK(holdfast::decode_event(holdfast::encode(*event)).ok());
  if (const auto state = holdfast::decode_cluster_state(text); state.ok())
    CHECK(holdfast::decode_cluster_state(holdfast::encode(*state)).ok());
  return 0;
}
