#include "io/s3_retry.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(S3Retry, TheBoundDoublesUpToTheCap) {
  Prng prng(1);
  const S3RetryPolicy policy{milliseconds(100), seconds(5)};
  for (int failed = 1; failed <= 40; ++failed) {
    const Duration bound = failed > 6 ? seconds(5) : milliseconds(100ll << (failed - 1));
    Duration longest;
    for (int i = 0; i < 2000; ++i) {
      const Duration delay = retry_delay(policy, failed, {}, prng);
      ASSERT_GE(delay, Duration{});
      ASSERT_LE(delay, bound);
      longest = std::max(longest, delay);
    }
    EXPECT_GT(longest, bound * 9 / 10) << failed;
  }
}

TEST(S3Retry, JitterIsFull) {
  Prng prng(7);
  Duration sum;
  for (int i = 0; i < 10'000; ++i) sum = sum + retry_delay({}, 3, {}, prng);
  const std::int64_t mean_ms = sum.ms() / 10'000;
  EXPECT_GT(mean_ms, 190);  // uniform in [0, 400]
  EXPECT_LT(mean_ms, 210);
}

TEST(S3Retry, TheServersWishIsAFloor) {
  Prng prng(3);
  for (int i = 0; i < 100; ++i) EXPECT_GE(retry_delay({}, 1, seconds(2), prng), seconds(2));
}

}  // namespace
}  // namespace holdfast
