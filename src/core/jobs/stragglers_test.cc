#include "core/jobs/stragglers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace holdfast {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class StragglersTest : public testing::Test {
 protected:
  StragglersTest() {
    job_.id = JobId{1};
    job_.attempt.number = Attempt{1};
  }
  void seen(std::uint32_t rank, std::uint64_t steps, std::int64_t median_ns) {
    (void)monitor_.seen(
        job_, NodeId{1},
        {.rank = rank, .step = steps, .steps_this_attempt = steps, .median_step_ns = median_ns},
        Instant{} + seconds(1));
  }
  std::map<std::uint32_t, Straggler> found() { return find_stragglers(monitor_.samples(job_.id)); }

  JobRecord job_;
  ProgressMonitor monitor_;
};

TEST_F(StragglersTest, AgainstItsPeers) {
  for (std::uint32_t rank = 0; rank < 4; ++rank) seen(rank, 100, 1000);
  EXPECT_THAT(found(), IsEmpty());
  seen(2, 100, 1500);
  EXPECT_THAT(found(), IsEmpty()) << "not more than half as long again";
  monitor_ = {};
  for (std::uint32_t rank = 0; rank < 4; ++rank) seen(rank, 100, rank == 2 ? 1501 : 1000);
  EXPECT_THAT(found(), ElementsAre(Pair(2u, Straggler{1501, 1000, 0})));
  monitor_.ended(job_.id, Attempt{1}, 2);
  EXPECT_THAT(found(), IsEmpty());
}

TEST_F(StragglersTest, OfTwoTheSlowerOne) {
  seen(0, 100, 4000);
  seen(1, 100, 1000);
  EXPECT_THAT(found(), ElementsAre(Pair(0u, Straggler{4000, 1000, 0})));
}

TEST_F(StragglersTest, AgainstItsOwnPast) {
  for (std::uint32_t rank = 0; rank < 2; ++rank) seen(rank, 100, 1000);
  for (std::uint32_t rank = 0; rank < 2; ++rank) seen(rank, 200, 2000);
  EXPECT_THAT(found(),
              ElementsAre(Pair(0u, Straggler{2000, 0, 1000}), Pair(1u, Straggler{2000, 0, 1000})))
      << "they wait for each other";
  for (std::uint32_t rank = 0; rank < 2; ++rank) seen(rank, 300, 1100);
  EXPECT_THAT(found(), IsEmpty()) << "over by itself";
  job_.attempt.number = Attempt{2};
  for (std::uint32_t rank = 0; rank < 2; ++rank) seen(rank, 100, 9000);
  EXPECT_THAT(found(), IsEmpty()) << "a new attempt may have another batch";
}

TEST_F(StragglersTest, AFewStepsAreNoMeasure) {
  for (std::uint32_t rank = 0; rank < 4; ++rank) seen(rank, 5, rank == 2 ? 9000 : 1000);
  EXPECT_THAT(found(), IsEmpty());
  for (std::uint32_t rank = 0; rank < 4; ++rank)
    seen(rank, 50, rank == 2 ? std::numeric_limits<std::int64_t>::max() : -1);
  EXPECT_THAT(found(), IsEmpty()) << "a page may say anything";
}

}  // namespace
}  // namespace holdfast
