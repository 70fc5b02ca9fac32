#include "sim/queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast::sim {
namespace {

using testing::ElementsAre;

TEST(Queue, RunsInTheOrderOfTimeAndThenOfAsking) {
  Queue queue(Instant{} + seconds(1));
  std::vector<int> ran;
  queue.after(seconds(2), [&] { ran.push_back(3); });
  queue.beat_at(Instant{} + seconds(2), [&] { ran.push_back(1); });
  queue.after(seconds(1), [&] {
    ran.push_back(2);
    queue.at(Instant{}, [&] { ran.push_back(4); });  // has passed: now, after what is there
  });
  while (queue.next()) queue.run_next();
  EXPECT_THAT(ran, ElementsAre(1, 2, 4, 3));
  EXPECT_EQ(queue.now(), Instant{} + seconds(3));
}

TEST(Queue, BeatsCanBeForgotten) {
  Queue queue(Instant{});
  int ran = 0;
  queue.beat_at(Instant{} + seconds(1), [&] { ++ran; });
  queue.after(seconds(2), [&] { ran += 10; });
  EXPECT_EQ(queue.next(), Instant{} + seconds(1));
  queue.forget_beats();
  EXPECT_EQ(queue.next(), Instant{} + seconds(2));
  while (queue.next()) queue.run_next();
  EXPECT_EQ(ran, 10);
}

}  // namespace
}  // namespace holdfast::sim
