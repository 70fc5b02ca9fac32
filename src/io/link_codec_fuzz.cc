#include <cstddef>
#include <cstdint>

#include "io/link_codec.h"

// Whatever a peer sends gives a value or an Error, and a value survives the way back.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  const auto try_as = [&](auto envelope) {
    if (!envelope.ParseFromArray(bytes, static_cast<int>(size))) return;
    const auto message = from_wire(envelope);
    if (message.ok()) CHECK(from_wire(to_wire(*message)).ok());
  };
  try_as(wire::AgentEnvelope());
  try_as(wire::ServerEnvelope());
  return 0;
}
