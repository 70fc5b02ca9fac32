#pragma once

#include <cstdint>
#include <string_view>

namespace holdfast {

// 64-bit FNV-1a over bytes: a fingerprint to compare two states of one program, not a checksum
// against corruption and not a defence against anybody.
class Digest {
 public:
  void add(std::string_view bytes) {
    for (unsigned char byte : bytes) value_ = (value_ ^ byte) * 0x100000001B3ull;
  }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xCBF29CE484222325ull;
};

}  // namespace holdfast
