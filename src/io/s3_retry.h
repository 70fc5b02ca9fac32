#pragma once

#include <algorithm>
#include <cstdint>

#include "base/prng.h"
#include "base/time.h"

namespace holdfast {

// Exponential back-off with full jitter: before try n+1 we wait a time that is uniform in [0, base
// * 2^(n-1)], at most `cap` ("Exponential Backoff And Jitter", AWS architecture blog, 2015). The
// total deadline, not a count, ends it.
struct S3RetryPolicy {
  Duration base = milliseconds(100);
  Duration cap = seconds(5);
};

// `failed`: how many tries there were, from 1. `asked`: the server's Retry-After, or 0.
[[nodiscard]] inline Duration retry_delay(const S3RetryPolicy& policy, int failed, Duration asked,
                                          Prng& prng) {
  Duration most = policy.base;
  for (int i = 1; i < failed && most < policy.cap; ++i) most = most * 2;
  most = std::min(most, policy.cap);
  const std::int64_t us = std::min<std::int64_t>(most.ns / 1000, (std::int64_t{1} << 31));
  const Duration jittered{
      static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(us) + 1)) * 1000};
  return std::max(jittered, asked);
}

}  // namespace holdfast
