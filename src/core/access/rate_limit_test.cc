#include "core/access/rate_limit.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

int taken(RateLimit& limit, Instant now) {
  int count = 0;
  while (limit.take(now)) ++count;
  return count;
}

TEST(RateLimit, ABurstAndThenTheRate) {
  RateLimit limit(10, 3);
  Instant now{seconds(5).ns};
  EXPECT_EQ(taken(limit, now), 3);
  now = now + milliseconds(99);
  EXPECT_EQ(taken(limit, now), 0);
  now = now + milliseconds(1);
  EXPECT_EQ(taken(limit, now), 1);
  now = now + milliseconds(200);
  EXPECT_EQ(taken(limit, now), 2);
}

TEST(RateLimit, NoMoreThanABurstIsSavedUp) {
  RateLimit limit(10, 3);
  EXPECT_EQ(taken(limit, Instant{seconds(1000).ns}), 3);
}

TEST(RateLimit, OverALongTimeItIsTheRate) {
  RateLimit limit(1000, 100);
  int count = 0;
  for (std::int64_t ms = 0; ms < 10'000; ++ms)
    for (int i = 0; i < 5; ++i) count += limit.take(Instant{milliseconds(ms).ns}) ? 1 : 0;
  EXPECT_GE(count, 10'000);
  EXPECT_LE(count, 10'100);
}

}  // namespace
}  // namespace holdfast
