#include "core/jobs/recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using enum CauseClass;

struct Row {
  const char* what;
  CauseClass cause;
  Confidence confidence;
  RetryCount count;  // attempts without progress, out of memory, same suspect
  bool start_again;
  Duration wait;
  bool other_nodes;
};

// With the default retry policy: three attempts without progress.
const Row kRows[] = {
    {"first crash: again at once", kUnknown, Confidence::kLow, {1, 0, 0}, true, {}, false},
    {"second crash: again at once", kUnknown, Confidence::kLow, {2, 0, 0}, true, {}, false},
    {"third, no proof: other nodes", kUnknown, Confidence::kLow, {3, 0, 0}, true, seconds(1), true},
    {"fifth, no proof", kUnknown, Confidence::kLow, {5, 0, 0}, true, seconds(4), true},
    {"sixth, no proof: stop", kUnknown, Confidence::kLow, {6, 0, 0}, false, {}, false},
    {"an exception twice", kApplication, Confidence::kHigh, {2, 0, 0}, true, {}, false},
    {"an exception three times: stop",
     kApplication,
     Confidence::kHigh,
     {3, 0, 0},
     false,
     {},
     false},
    {"out of memory once", kOutOfMemory, Confidence::kHigh, {1, 1, 0}, true, {}, false},
    {"out of memory twice: stop", kOutOfMemory, Confidence::kHigh, {2, 2, 0}, false, {}, false},
    {"echoes three times: other nodes",
     kInterconnect,
     Confidence::kLow,
     {3, 0, 0},
     true,
     seconds(1),
     true},
    {"a node was lost", kHost, Confidence::kHigh, {0, 0, 0}, true, {}, false},
    {"a node was lost, the hundredth time", kHost, Confidence::kHigh, {2, 0, 0}, true, {}, false},
    {"a hang names a node again", kUnknown, Confidence::kMedium, {2, 0, 2}, true, {}, true},
    {"a planned restart", kScheduling, Confidence::kHigh, {0, 0, 0}, true, {}, false},
};

TEST(Recovery, Table) {
  for (const Row& row : kRows) {
    const Verdict verdict{.cause = row.cause, .confidence = row.confidence, .summary = "the cause"};
    const RecoveryDecision decision = decide_recovery(JobSpec{}, verdict, row.count);
    EXPECT_EQ(decision.start_again, row.start_again) << row.what;
    EXPECT_EQ(decision.wait, row.wait) << row.what;
    EXPECT_EQ(decision.other_nodes, row.other_nodes) << row.what;
    if (!row.start_again) {
      EXPECT_THAT(decision.reason, testing::HasSubstr("the cause")) << row.what;
    }
  }
}

TEST(Recovery, BackOffDoublesUpToAMinute) {
  JobSpec patient;
  patient.retry.attempts_without_progress_max = 1000;
  const Verdict verdict{.cause = kUnknown};
  const auto wait = [&](std::uint32_t n) {
    return decide_recovery(patient, verdict, {n, 0, 0}).wait;
  };
  EXPECT_EQ(wait(2), Duration{});
  EXPECT_EQ(wait(3), seconds(1));
  EXPECT_EQ(wait(4), seconds(2));
  EXPECT_EQ(wait(8), seconds(32));
  EXPECT_EQ(wait(9), seconds(60));
  EXPECT_EQ(wait(900), seconds(60));
}

TEST(Recovery, InfrastructureNeverCountsAgainstTheJob) {
  for (const CauseClass cause : {kThermal, kAccelerator, kHost, kStorage, kScheduling})
    EXPECT_FALSE(counts_against_job(Verdict{.cause = cause})) << word_of(cause);
  for (const CauseClass cause : {kApplication, kOutOfMemory, kUnknown, kInterconnect})
    EXPECT_TRUE(counts_against_job(Verdict{.cause = cause})) << word_of(cause);
}

}  // namespace
}  // namespace holdfast
