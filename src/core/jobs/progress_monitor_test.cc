#include "core/jobs/progress_monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ProgressMonitorTest : public testing::Test {
 protected:
  ProgressMonitorTest() {
    job_.id = JobId{1};
    job_.attempt.number = Attempt{1};
  }
  static Instant at(int s) { return Instant{} + seconds(s); }
  std::optional<event::Progressed> seen(std::uint32_t rank, std::uint64_t steps, int s,
                                        Duration median = milliseconds(100)) {
    return monitor_.seen(
        job_, NodeId{1},
        {.rank = rank, .step = steps, .steps_this_attempt = steps, .median_step_ns = median.ns},
        at(s));
  }
  std::vector<std::uint32_t> stalled(int s) {
    const auto found = monitor_.take_stalled(at(s));
    return found.empty() ? std::vector<std::uint32_t>{} : found.front().ranks;
  }

  JobRecord job_;
  ProgressMonitor monitor_;
};

TEST_F(ProgressMonitorTest, AShortStepIsGivenTheMinimum) {
  seen(0, 1, 10);
  seen(1, 1, 10);
  seen(1, 2, 15);
  EXPECT_EQ(monitor_.next_deadline(), at(40));
  EXPECT_THAT(stalled(39), IsEmpty());
  EXPECT_THAT(stalled(40), ElementsAre(0u));
}

TEST_F(ProgressMonitorTest, ALongStepIsGivenTenMedians) {
  seen(0, 1, 10, seconds(6));
  EXPECT_THAT(stalled(69), IsEmpty());
  EXPECT_THAT(stalled(70), ElementsAre(0u));
}

TEST_F(ProgressMonitorTest, AMedianThatNoProgramCanHaveDoesNotOverflow) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t median : {kMost, kMost / 10, -kMost}) {
    seen(0, 1, 10, nanoseconds(median));
    EXPECT_THAT(stalled(39), IsEmpty()) << median;
    EXPECT_GE(monitor_.next_deadline(), at(40)) << median;
    monitor_.forget(JobId{1});
  }
}

TEST_F(ProgressMonitorTest, AFactorThatIsTooLargeDoesNotOverflowEither) {
  job_.spec.hang = {.stall_min = seconds(7 * 86'400), .stall_factor = 1'000'000};
  job_.attempts_without_progress = 10;
  seen(0, 0, 0);
  seen(0, 1, 7);
  job_.attempt.number = Attempt{2};
  seen(0, 0, 100);
  EXPECT_THAT(stalled(101), IsEmpty());
  EXPECT_GT(monitor_.next_deadline(), at(100));
}

TEST_F(ProgressMonitorTest, BothLimitsCanBeSet) {
  job_.spec.hang = {.stall_min = seconds(2), .stall_factor = 3};
  seen(0, 1, 10, seconds(1));
  EXPECT_THAT(stalled(12), IsEmpty());
  EXPECT_THAT(stalled(13), ElementsAre(0u));
}

TEST_F(ProgressMonitorTest, BeforeTheFirstStepNothingIsAHang) {
  seen(0, 0, 0);
  seen(1, 0, 0);
  EXPECT_FALSE(monitor_.next_deadline().has_value());
  EXPECT_THAT(stalled(10'000), IsEmpty());
  // The first step of one starts the clock of all.
  seen(0, 1, 10'000);
  seen(0, 2, 10'020);
  EXPECT_THAT(stalled(10'029), IsEmpty());
  EXPECT_THAT(stalled(10'030), ElementsAre(1u));
}

TEST_F(ProgressMonitorTest, ALaterAttemptIsGivenTenTimesTheLongestStartToItsFirstStep) {
  seen(0, 0, 0);
  seen(0, 1, 7);
  job_.attempt.number = Attempt{2};
  seen(0, 0, 100);
  seen(1, 0, 100);
  EXPECT_EQ(monitor_.next_deadline(), at(170));
  EXPECT_THAT(stalled(169), IsEmpty());
  EXPECT_THAT(stalled(170), ElementsAre(0u, 1u));
  EXPECT_THAT(stalled(1000), IsEmpty()) << "once";
  job_.attempt.number = Attempt{3};
  job_.attempts_without_progress = 1;
  seen(0, 0, 200);
  EXPECT_THAT(stalled(339), IsEmpty()) << "twice as long";
  seen(0, 1, 339);  // from the first step on the usual limits
  EXPECT_THAT(stalled(368), IsEmpty());
  EXPECT_THAT(stalled(369), ElementsAre(0u));
}

TEST_F(ProgressMonitorTest, AStartThatWasNotSeenIsTakenToBeTheMinimum) {
  job_.step_reached = 50;
  seen(0, 0, 0);
  EXPECT_THAT(stalled(299), IsEmpty());
  EXPECT_THAT(stalled(300), ElementsAre(0u));
}

TEST_F(ProgressMonitorTest, AStartIsNotLearntToTakeForEver) {
  seen(0, 0, 0);
  seen(0, 1, 600);
  job_.attempt.number = Attempt{2};
  job_.attempts_without_progress = 3;
  seen(0, 0, 1000);
  EXPECT_THAT(stalled(1899), IsEmpty());
  EXPECT_THAT(stalled(1900), ElementsAre(0u));
}

TEST_F(ProgressMonitorTest, WithALimitForTheFirstStepTheVeryFirstAttemptCanHang) {
  job_.spec.hang.first_step_max = seconds(20);
  seen(0, 0, 0);
  seen(1, 0, 0);
  EXPECT_THAT(stalled(19), IsEmpty());
  EXPECT_THAT(stalled(20), ElementsAre(0u, 1u));
}

TEST_F(ProgressMonitorTest, ARankThatIsFirstHeardOfLateHasItsOwnClock) {
  seen(0, 1, 0);
  seen(1, 0, 25);
  seen(0, 2, 28);
  EXPECT_THAT(stalled(30), IsEmpty());
  EXPECT_THAT(stalled(54), IsEmpty());
  EXPECT_THAT(stalled(55), ElementsAre(1u));
}

TEST_F(ProgressMonitorTest, ARankThatCameAfterAllOthersEndedIsWatchedToo) {
  seen(0, 1, 0);
  monitor_.ended(job_.id, Attempt{1}, 0);
  EXPECT_THAT(stalled(31), IsEmpty());
  seen(1, 1, 40);
  EXPECT_THAT(stalled(70), ElementsAre(1u));
}

TEST_F(ProgressMonitorTest, ARankThatEndedIsNotStalled) {
  seen(0, 5, 0);
  seen(1, 5, 0);
  monitor_.ended(job_.id, Attempt{1}, 0);
  EXPECT_THAT(stalled(100), ElementsAre(1u));
}

TEST_F(ProgressMonitorTest, AnAttemptIsReportedOnceAndTheNextOneAnew) {
  seen(0, 1, 0);
  EXPECT_THAT(stalled(30), ElementsAre(0u));
  EXPECT_THAT(stalled(100), IsEmpty());
  job_.attempt.number = Attempt{2};
  seen(0, 1, 200);
  EXPECT_THAT(stalled(230), ElementsAre(0u));
}

TEST_F(ProgressMonitorTest, AForgottenJobIsNotWatched) {
  seen(0, 1, 0);
  monitor_.forget(job_.id);
  EXPECT_FALSE(monitor_.next_deadline().has_value());
  EXPECT_THAT(monitor_.samples(job_.id), IsEmpty());
}

TEST_F(ProgressMonitorTest, EachMarkIsJournaledOnce) {
  EXPECT_FALSE(seen(0, 0, 0).has_value());
  EXPECT_TRUE(seen(0, 1, 1).has_value()) << "first step";
  EXPECT_FALSE(seen(1, 1, 1).has_value()) << "first step of another rank";
  EXPECT_FALSE(seen(0, 2, 2).has_value());
  const auto with = [&](auto change) {
    RankProgress progress{.rank = 0, .step = 9, .steps_this_attempt = 9};
    progress.restored_step = 5;
    change(progress);
    return monitor_.seen(job_, NodeId{1}, progress, at(3)).has_value();
  };
  EXPECT_TRUE(with([](RankProgress&) {})) << "restored";
  EXPECT_FALSE(with([](RankProgress&) {}));
  EXPECT_TRUE(with([](RankProgress& p) { p.committed_step = 8; })) << "a commit";
  EXPECT_FALSE(with([](RankProgress& p) { p.committed_step = 8; }));
  EXPECT_TRUE(with([](RankProgress& p) { p.committed_step = 9; })) << "the next commit";
  EXPECT_TRUE(with([](RankProgress& p) { p.checkpoint_failures = 1; })) << "a failure";
  EXPECT_FALSE(with([](RankProgress& p) { p.checkpoint_failures = 1; }));
}

TEST_F(ProgressMonitorTest, TheRateIsMeasuredOverAWindow) {
  seen(0, 1, 1);
  seen(0, 5, 2);
  seen(0, 21, 5);
  const auto& sample = monitor_.samples(job_.id).at(0);
  EXPECT_EQ(sample.window, seconds(4));
  EXPECT_EQ(sample.window_steps, 20u);
}

}  // namespace
}  // namespace holdfast
