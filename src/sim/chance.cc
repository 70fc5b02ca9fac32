#include "sim/chance.h"

#include <algorithm>
#include <bit>

namespace holdfast::sim {
namespace {

__extension__ using Wide = unsigned __int128;

// -ln(u / 2^64) as a fixed-point number with 32 bits behind the point. The logarithm to base 2 bit
// by bit: squaring a number doubles its logarithm.
std::uint64_t minus_log(std::uint64_t u) {
  const int whole = 63 - std::countl_zero(u);
  std::uint64_t mantissa = u << (63 - whole);  // in [1, 2), 63 bits behind the point
  std::uint64_t fraction = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const Wide square = Wide{mantissa} * mantissa;  // in [1, 4), 126 bits behind the point
    const bool carries = (square >> 127) != 0;
    mantissa = static_cast<std::uint64_t>(square >> (carries ? 64 : 63));
    if (carries) fraction |= std::uint64_t{1} << bit;
  }
  const std::uint64_t log2 = (static_cast<std::uint64_t>(whole) << 32) | fraction;
  const std::uint64_t below_one = (std::uint64_t{64} << 32) - log2;
  constexpr std::uint64_t kLn2 = 2977044472;  // ln 2 x 2^32
  return static_cast<std::uint64_t>((Wide{below_one} * kLn2) >> 32);
}

}  // namespace

Duration draw(Prng& prng, const Span& span) {
  const auto width = static_cast<std::uint64_t>((span.most - span.least).ns) + 1;
  return span.least + nanoseconds(static_cast<std::int64_t>(prng.next() % width));
}

Duration draw_wait(Prng& prng, std::uint64_t per_billion_hours) {
  CHECK(per_billion_hours > 0);
  constexpr Wide kBillionHours = Wide{3'600'000'000'000} * 1'000'000'000;  // in ns
  constexpr std::uint64_t kMost = 10'000'000'000'000'000'000ull / 2;
  const std::uint64_t log = minus_log(prng.next() | 1);
  const Wide wait = (kBillionHours / per_billion_hours * log) >> 32;
  return nanoseconds(static_cast<std::int64_t>(std::min<Wide>(wait, kMost)));
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  return Prng(a, b).next();
}

}  // namespace holdfast::sim
