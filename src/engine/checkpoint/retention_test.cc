#include "engine/checkpoint/retention.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/prng.h"

namespace holdfast::engine {
namespace {

std::vector<CommitSize> commits(const std::vector<std::uint64_t>& steps, std::uint64_t bytes = 10) {
  std::vector<CommitSize> chain;
  for (const std::uint64_t step : steps) chain.push_back({{1, step}, bytes});
  return chain;
}

std::vector<std::uint64_t> steps_kept(const std::vector<CommitSize>& chain,
                                      const Retention& retention) {
  std::vector<std::uint64_t> steps;
  for (const Base& commit : kept(chain, retention)) steps.push_back(commit.step);
  return steps;
}

using Steps = std::vector<std::uint64_t>;

TEST(Retention, KeepsTheLast) {
  EXPECT_EQ(steps_kept(commits({50, 40, 30, 20, 10}), {.last = 3}), (Steps{50, 40, 30}));
  EXPECT_EQ(steps_kept(commits({50}), {.last = 3}), (Steps{50}));
}

TEST(Retention, TheNewestTwoStayWhateverIsAsked) {
  EXPECT_EQ(steps_kept(commits({50, 40, 30}), {.last = 1}), (Steps{50, 40}));
  EXPECT_EQ(steps_kept(commits({50, 40, 30}, 100), {.last = 3, .bytes_max = 1}), (Steps{50, 40}));
}

TEST(Retention, KeepsTheFirstOfEachSpan) {
  EXPECT_EQ(
      steps_kept(commits({270, 260, 250, 210, 190, 130, 110, 70}), {.last = 2, .every_steps = 100}),
      (Steps{270, 260, 210, 110, 70}));
}

TEST(Retention, OverBudgetTheOldestGo) {
  EXPECT_EQ(steps_kept(commits({270, 260, 210, 110, 70}),
                       {.last = 2, .every_steps = 100, .bytes_max = 35}),
            (Steps{270, 260, 210}));
}

// Commits come one after the other, and each time only what is kept is left.
TEST(Retention, WhatWasKeptForItsSpanStaysWhileNewOnesCome) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Prng prng(seed);
    const Retention retention{.last = 1 + prng.below(5), .every_steps = 50 + prng.below(100)};
    std::vector<CommitSize> left;
    std::vector<std::uint64_t> firsts;  // of each span
    std::uint64_t step = 0, attempt = 1;
    for (int i = 0; i < 60; ++i) {
      step += 1 + prng.below(40);
      if (prng.below(8) == 0) ++attempt;
      if (firsts.empty() || firsts.back() / retention.every_steps != step / retention.every_steps)
        firsts.push_back(step);
      left.insert(left.begin(), {{attempt, step}, 1});
      const std::vector<Base> stay = kept(left, retention);
      std::erase_if(left, [&](const CommitSize& c) {
        return std::find(stay.begin(), stay.end(), c.commit) == stay.end();
      });
    }
    for (const std::uint64_t first : firsts)
      EXPECT_TRUE(std::any_of(left.begin(), left.end(),
                              [&](const CommitSize& c) { return c.commit.step == first; }))
          << "seed " << seed << ", step " << first;
    EXPECT_LE(left.size(), firsts.size() + std::max<std::uint64_t>(2, retention.last));
  }
}

}  // namespace
}  // namespace holdfast::engine
