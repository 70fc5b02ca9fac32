// Any bytes: a machine that can be written and read again, or an error; a change, or none.

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "drivers/recorded_machine.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(bytes), size);
  auto machine = holdfast::parse_recorded_machine(text, "fuzz");
  if (machine.ok())
    CHECK(holdfast::parse_recorded_machine(write_recorded_machine(*machine), "again").ok());
  holdfast::RecordedMachine two;
  two.reading.devices.resize(2);
  two.reading.devices[0].pci = "0000:3b:00.0";
  two.reading.devices[1].pci = "0000:5e:00.0";
  static_cast<void>(holdfast::change_recorded_machine(two, text));
  holdfast::reset_recorded_devices(two, {text}, size % 2 == 0);
  return 0;
}
