#include "sim/chance.h"

#include <gtest/gtest.h>

namespace holdfast::sim {
namespace {

TEST(Chance, WaitsHaveTheMeanAndTheShapeOfTheExponentialDistribution) {
  // One in a thousand hours on average.
  constexpr std::int64_t kMean = 3'600'000'000'000 * 1000;
  Prng prng(1);
  __extension__ __int128 sum = 0;
  int longer_than_mean = 0;
  constexpr int kDraws = 100'000;
  for (int i = 0; i < kDraws; ++i) {
    const Duration wait = draw_wait(prng, 1'000'000);
    ASSERT_GE(wait, Duration{});
    sum += wait.ns;
    if (wait.ns > kMean) ++longer_than_mean;
  }
  const auto mean_permille = static_cast<std::int64_t>(sum / kDraws * 1000 / kMean);
  EXPECT_NEAR(static_cast<int>(mean_permille), 1000, 10);
  EXPECT_NEAR(longer_than_mean, kDraws * 368 / 1000, 500) << "1/e of them";
}

TEST(Chance, ADrawIsWithinItsSpan) {
  Prng prng(2);
  for (int i = 0; i < 1000; ++i) {
    const Duration drawn = draw(prng, {milliseconds(3), milliseconds(5)});
    EXPECT_GE(drawn, milliseconds(3));
    EXPECT_LE(drawn, milliseconds(5));
  }
  EXPECT_EQ(draw(prng, {seconds(1), seconds(1)}), seconds(1));
}

// The same numbers on every compiler.
TEST(Chance, TheNumbersAreKnown) {
  Prng prng(7);
  EXPECT_EQ(draw_wait(prng, 1'000'000'000).ns, 3391362640075);
  EXPECT_EQ(mix(1, 2), mix(1, 2));
  EXPECT_NE(mix(1, 2), mix(2, 1));
}

}  // namespace
}  // namespace holdfast::sim
