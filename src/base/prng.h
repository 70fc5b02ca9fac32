#pragma once

#include <cstdint>

#include "base/check.h"

namespace holdfast {

// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
// Integers only, so that a seed gives the same numbers on every compiler. One per machine, its
// stream derived from (seed, machine), so that adding a machine does not shift the others' numbers.
class Prng {
 public:
  explicit Prng(std::uint64_t seed, std::uint64_t stream = 0)
      : state_(seed ^ (stream * 0x9E3779B97F4A7C15ull)) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound). The bias of the modulo is below 2^-32 for every bound used here.
  // REQUIRES: 0 < bound < 2^32.
  std::uint64_t below(std::uint64_t bound) {
    CHECK(bound > 0 && bound < (1ull << 32));
    return next() % bound;
  }

  // True `numerator` times out of `denominator`.
  bool chance(std::uint64_t numerator, std::uint64_t denominator) {
    return below(denominator) < numerator;
  }

 private:
  std::uint64_t state_;
};

}  // namespace holdfast
