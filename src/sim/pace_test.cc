#include "sim/pace.h"

#include <gtest/gtest.h>

namespace holdfast::sim {
namespace {

Instant at(int ms) {
  return Instant{} + milliseconds(ms);
}

TEST(Pace, StepsFollowFromTheTime) {
  Pace pace;
  pace.go(at(1000), 10, milliseconds(500));
  EXPECT_EQ(pace.step_at(at(900)), 10u);
  EXPECT_EQ(pace.step_at(at(1499)), 10u);
  EXPECT_EQ(pace.step_at(at(1500)), 11u);
  EXPECT_EQ(pace.end_of(12), at(2000));
  EXPECT_EQ(pace.boundary(at(1501)), at(2000));
  EXPECT_EQ(pace.boundary(at(1500)), at(1500));
  pace.stop(at(2600));
  EXPECT_EQ(pace.step_at(at(9000)), 13u);
}

TEST(Pace, AChangeKeepsTheShareOfTheStepThatIsDone) {
  Pace pace;
  pace.go(at(0), 0, milliseconds(1000));
  pace.change(at(2500), milliseconds(2000));  // in the middle of the third
  EXPECT_EQ(pace.step_at(at(2500)), 2u);
  EXPECT_EQ(pace.step_at(at(3499)), 2u);
  EXPECT_EQ(pace.step_at(at(3501)), 3u);
}

}  // namespace
}  // namespace holdfast::sim
