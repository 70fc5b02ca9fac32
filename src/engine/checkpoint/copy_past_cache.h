#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace holdfast::engine {

// memcpy of what nobody reads soon: past the processor's caches, which spares memory the reading of
// each line that is about to be overwritten, and training the loss of what it has in them. On the
// machine of docs/benchmarks.md two cores copy 13 GB/s so and 8 with memcpy. Others see the bytes
// as after a memcpy.
inline void copy_past_cache(std::byte* to, const std::byte* from, std::size_t bytes) {
#ifdef __SSE2__
  constexpr std::size_t kLine = 64, kWorthIt = 4096;
  if (bytes >= kWorthIt) {
    const std::size_t head = (kLine - reinterpret_cast<std::uintptr_t>(to) % kLine) % kLine;
    std::memcpy(to, from, head);
    const std::size_t end = head + (bytes - head) / kLine * kLine;
    for (std::size_t at = head; at < end; at += kLine) {
      const auto* in = reinterpret_cast<const __m128i*>(from + at);
      auto* out = reinterpret_cast<__m128i*>(to + at);
      const __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
      const __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
      _mm_stream_si128(out, a);
      _mm_stream_si128(out + 1, b);
      _mm_stream_si128(out + 2, c);
      _mm_stream_si128(out + 3, d);
    }
    _mm_sfence();
    to += end;
    from += end;
    bytes -= end;
  }
#endif
  std::memcpy(to, from, bytes);
}

}  // namespace holdfast::engine
