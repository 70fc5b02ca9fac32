#include "io/clock.h"

#include <gtest/gtest.h>

#include <limits>

namespace holdfast {
namespace {

TEST(ClusterClock, GoesOnFromTheJournalByTheWallTimeThatHasPassed) {
  const WallTime an_hour_ago{wall_now().ns - seconds(3600).ns};
  const ClusterClock clock(Instant{500}, an_hour_ago);
  const Duration since = clock.now() - Instant{500};
  EXPECT_GE(since, seconds(3600));
  EXPECT_LT(since, seconds(3660));
}

TEST(ClusterClock, StandsStillWhereTheWallClockWasSetBack) {
  const WallTime future{wall_now().ns + seconds(3600).ns};
  const ClusterClock clock(Instant{500}, future);
  EXPECT_GE(clock.now(), Instant{500});
  EXPECT_LT(clock.now() - Instant{500}, seconds(60));
}

TEST(ClusterClock, IsNotCarriedAwayByAWrongWallClock) {
  for (const std::int64_t last : {std::int64_t{0}, std::numeric_limits<std::int64_t>::min()}) {
    const ClusterClock clock(Instant{500}, WallTime{last});
    EXPECT_GT(clock.now() - Instant{500}, seconds(364 * 24 * 3600));
    EXPECT_LT(clock.now() - Instant{500}, seconds(366 * 24 * 3600));
  }
}

TEST(ClusterClock, DoesNotGoBack) {
  const ClusterClock clock({}, wall_now());
  Instant last = clock.now();
  for (int i = 0; i < 1000; ++i) {
    const Instant now = clock.now();
    ASSERT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace holdfast
