#include "core/checks/threshold.h"

#include <gtest/gtest.h>

#include "base/prng.h"

namespace holdfast {
namespace {

TEST(Threshold, TooFewPeersSayNothing) {
  EXPECT_EQ(fleet_threshold({}, false), std::nullopt);
  EXPECT_EQ(fleet_threshold({10, 11}, false), std::nullopt);
  EXPECT_TRUE(fleet_threshold({10, 11, 12}, false));
}

TEST(Threshold, AShareOfTheMedianWhereTheSpreadIsSmall) {
  const auto more = fleet_threshold({100'000, 100'100, 99'900, 100'000}, false);
  ASSERT_TRUE(more);
  EXPECT_EQ(more->value, 60'000);
  EXPECT_EQ(more->median, 100'000);
  EXPECT_EQ(more->peers, 4u);
  const auto less = fleet_threshold({2000, 2010, 1990}, true);
  ASSERT_TRUE(less);
  EXPECT_EQ(less->value, 6000);
}

TEST(Threshold, AWideSpreadLetsMorePass) {
  // Median 100, MAD 40: 5 * 1.483 * 40 = 296 below it is nothing.
  EXPECT_EQ(fleet_threshold({20, 60, 100, 140, 180}, false)->value, 0);
  EXPECT_EQ(fleet_threshold({20, 60, 100, 140, 180}, true)->value, 100 + 296);
}

TEST(Threshold, TheLargestValuesDoNotOverflow) {
  const auto found = fleet_threshold({0, kValueMax, kValueMax, 0, kValueMax}, true);
  ASSERT_TRUE(found);
  EXPECT_GE(found->value, kValueMax);
}

// Fleets with up to 15 % of noise, of which up to a fifth is bad: nobody who is well is taken for
// bad. Who has a tenth is found up to 8 % of noise, who has half up to 5 % and among well peers.
TEST(Threshold, NoiseIsNotTakenForTroubleAndTroubleIsFound) {
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    Prng prng(seed);
    const std::size_t peers = 5 + prng.below(60);
    const std::int64_t usual = 1000 + static_cast<std::int64_t>(prng.below(100'000'000));
    const std::int64_t noise = 1 + static_cast<std::int64_t>(prng.below(15));
    const auto well = [&] {
      const std::int64_t percent =
          100 - noise +
          static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(2 * noise + 1)));
      return usual * percent / 100;
    };
    std::vector<std::int64_t> values;
    const std::size_t bad = prng.below(peers / 5 + 1);  // of the peers, who are measured as well
    for (std::size_t i = 0; i < peers; ++i) values.push_back(i < bad ? well() / 10 : well());
    const auto found = fleet_threshold(values, false);
    ASSERT_TRUE(found);
    EXPECT_FALSE(is_beyond(well(), found->value, false)) << "seed " << seed;
    if (noise <= 8) {
      EXPECT_TRUE(is_beyond(well() / 10, found->value, false)) << "seed " << seed;
    }
    if (noise <= 5 && bad == 0) {
      EXPECT_TRUE(is_beyond(well() / 2, found->value, false)) << "seed " << seed;
    }
    for (std::int64_t& value : values) value = value < usual / 2 ? usual * 10 : value;
    const auto ceiling = fleet_threshold(values, true);
    EXPECT_FALSE(is_beyond(well(), ceiling->value, true)) << "seed " << seed;
    EXPECT_TRUE(is_beyond(usual * 10, ceiling->value, true)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace holdfast
