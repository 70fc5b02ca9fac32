#include "sim/queue.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/prng.h"

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

TEST(Queue, HasOneOrderWhereverAnActionStands) {
  Prng prng(5);
  Queue queue(Instant{});
  std::vector<std::pair<std::int64_t, int>> ran, expected;
  int asked = 0;
  const auto ask = [&] {
    // Beats by an interval, beats out of turn, and others.
    const Instant when =
        queue.now() +
        seconds(prng.below(3) == 0 ? 10 : static_cast<std::int64_t>(prng.below(15)) - 2);
    const int mine = asked++;
    const std::int64_t at = std::max(when, queue.now()).ns;
    const auto action = [&ran, at, mine] { ran.emplace_back(at, mine); };
    expected.emplace_back(at, mine);
    if (prng.below(4) == 0)
      queue.at(when, action);
    else
      queue.beat_at(when, action);
  };
  for (int i = 0; i < 50; ++i) ask();
  while (queue.next()) {
    EXPECT_GE(*queue.next(), queue.now());
    queue.run_next();
    if (asked < 5000) ask();
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(ran, expected);
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
