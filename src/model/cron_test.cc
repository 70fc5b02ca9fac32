#include "model/cron.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// 2026-11-25 21:35 UTC, a Wednesday.
constexpr WallTime kNow{1'795'642'500ll * 1'000'000'000};

std::vector<std::string> next(const std::string& fields, int count, WallTime after = kNow) {
  const Result<CronSchedule> schedule = parse_cron("cron(" + fields + ")");
  if (!schedule.ok()) return {schedule.error().detail};
  std::vector<std::string> times;
  for (int i = 0; i < count; ++i) {
    const auto at = next_after(*schedule, after);
    if (!at) {
      times.emplace_back("none");
      break;
    }
    times.push_back(utc_text(*at).substr(0, 16));
    after = *at;
  }
  return times;
}
std::string refusal(const std::string& expression) {
  const auto schedule = parse_cron(expression);
  return schedule.ok() ? "" : schedule.error().detail;
}

// The table of examples in the EventBridge user guide, "Cron expressions reference".
TEST(Cron, TheExamplesOfAws) {
  ASSERT_EQ(utc_text(kNow), "2026-11-25 21:35 UTC");
  // At 10:00 every day.
  EXPECT_THAT(next("0 10 * * ? *", 2), ElementsAre("2026-11-26 10:00", "2026-11-27 10:00"));
  // At 12:15 every day.
  EXPECT_THAT(next("15 12 * * ? *", 2), ElementsAre("2026-11-26 12:15", "2026-11-27 12:15"));
  // At 18:00 Monday to Friday.
  EXPECT_THAT(next("0 18 ? * MON-FRI *", 4), ElementsAre("2026-11-26 18:00", "2026-11-27 18:00",
                                                         "2026-11-30 18:00", "2026-12-01 18:00"));
  // At 8:00 on the first day of the month.
  EXPECT_THAT(next("0 8 1 * ? *", 2), ElementsAre("2026-12-01 08:00", "2027-01-01 08:00"));
  // Every 15 minutes.
  EXPECT_THAT(next("0/15 * * * ? *", 3),
              ElementsAre("2026-11-25 21:45", "2026-11-25 22:00", "2026-11-25 22:15"));
  // Every 10 minutes, Monday to Friday.
  EXPECT_THAT(next("0/10 * ? * MON-FRI *", 2), ElementsAre("2026-11-25 21:40", "2026-11-25 21:50"));
  // Every 5 minutes between 8:00 and 17:55, Monday to Friday.
  EXPECT_THAT(next("0/5 8-17 ? * MON-FRI *", 2),
              ElementsAre("2026-11-26 08:00", "2026-11-26 08:05"));
  const auto friday = next("0/5 8-17 ? * MON-FRI *", 241);
  EXPECT_EQ(friday[239], "2026-11-27 17:55");
  EXPECT_EQ(friday[240], "2026-11-30 08:00");
  // Every 30 minutes, Monday to Friday, from 20:00 to 2:00 of the following day; on Monday
  // from 0:00 on too.
  EXPECT_THAT(
      next("0/30 20-2 ? * MON-FRI *", 8),
      ElementsAre("2026-11-25 22:00", "2026-11-25 22:30", "2026-11-25 23:00", "2026-11-25 23:30",
                  "2026-11-26 00:00", "2026-11-26 00:30", "2026-11-26 01:00", "2026-11-26 01:30"));
  // EventBridge Scheduler's user guide: 10:15 on the last Friday of each month, 2022 to 2023.
  EXPECT_THAT(next("15 10 ? * 6L 2022-2023", 2, {1'640'995'200ll * 1'000'000'000}),
              ElementsAre("2022-01-28 10:15", "2022-02-25 10:15"));
  EXPECT_THAT(next("15 10 ? * 6L 2022-2023", 1), ElementsAre("none"));
}

// What the reference says of each wildcard.
TEST(Cron, Wildcards) {
  // 1/10: every tenth minute, from the first minute of the hour on.
  EXPECT_THAT(next("1/10 * * * ? *", 3),
              ElementsAre("2026-11-25 21:41", "2026-11-25 21:51", "2026-11-25 22:01"));
  // JAN,FEB,MAR; 1-15.
  EXPECT_THAT(next("0 0 1-2 JAN,FEB,MAR ? *", 3),
              ElementsAre("2027-01-01 00:00", "2027-01-02 00:00", "2027-02-01 00:00"));
  // 3W: the weekday closest to the third, a Sunday in January 2027.
  EXPECT_THAT(next("0 0 3W * ? *", 2), ElementsAre("2026-12-03 00:00", "2027-01-04 00:00"));
  // 3#2: the second Tuesday.
  EXPECT_THAT(next("0 0 ? * 3#2 *", 2), ElementsAre("2026-12-08 00:00", "2027-01-12 00:00"));
  EXPECT_THAT(next("0 0 ? * TUE#5 *", 2), ElementsAre("2026-12-29 00:00", "2027-03-30 00:00"));
  // L: the last day of the month, or of the week.
  EXPECT_THAT(next("0 0 L * ? *", 4), ElementsAre("2026-11-30 00:00", "2026-12-31 00:00",
                                                  "2027-01-31 00:00", "2027-02-28 00:00"));
  EXPECT_THAT(next("0 0 ? * L *", 1), ElementsAre("2026-11-28 00:00"));
  EXPECT_THAT(next("0 0 ? * fril *", 1),
              ElementsAre(HasSubstr("day of week: 'fril' is not understood")));
  EXPECT_THAT(next("0 0 ? * friL *", 1), ElementsAre("2026-11-27 00:00"));
  // ?: any day of the week.
  EXPECT_THAT(next("0 0 7 * ? *", 1), ElementsAre("2026-12-07 00:00"));
}

TEST(Cron, DaysAtTheEdgesOfMonthsAndYears) {
  // A Saturday the first moves on, a Sunday the last moves back: not into another month.
  EXPECT_THAT(next("0 0 1W MAY ? 2027", 1), ElementsAre("2027-05-03 00:00"));
  EXPECT_THAT(next("0 0 31W JAN ? 2027", 1), ElementsAre("2027-01-29 00:00"));
  EXPECT_THAT(next("0 0 31W * ? *", 2), ElementsAre("2026-12-31 00:00", "2027-01-29 00:00"))
      << "not in November";
  EXPECT_THAT(next("0 0 29 FEB ? *", 2), ElementsAre("2028-02-29 00:00", "2032-02-29 00:00"));
  EXPECT_THAT(next("59 23 31 12 ? *", 1), ElementsAre("2026-12-31 23:59"));
  EXPECT_THAT(next("0 0 ? * SAT-SUN *", 2), ElementsAre("2026-11-28 00:00", "2026-11-29 00:00"));
  EXPECT_THAT(next("0 0 1,15,L 2 ? 2027", 4),
              ElementsAre("2027-02-01 00:00", "2027-02-15 00:00", "2027-02-28 00:00", "none"));
  EXPECT_THAT(next("0 0 1 1 ? 2027/100", 3),
              ElementsAre("2027-01-01 00:00", "2127-01-01 00:00", "none"));
}

TEST(Cron, IsAfterAndNotAt) {
  EXPECT_THAT(next("35 21 * * ? *", 1), ElementsAre("2026-11-26 21:35"));
  EXPECT_THAT(next("35 21 * * ? *", 1, {kNow.ns - 1}), ElementsAre("2026-11-25 21:35"));
  EXPECT_THAT(next("36 21 * * ? *", 1, {kNow.ns + 1}), ElementsAre("2026-11-25 21:36"));
}

TEST(Cron, RefusesWithTheFieldAndWhatItMayBe) {
  EXPECT_THAT(refusal("rate(5 minutes)"), HasSubstr("cron(MINUTES HOURS"));
  EXPECT_THAT(refusal("cron(0 10 * * ?)"), HasSubstr("cron(MINUTES HOURS"));
  EXPECT_THAT(refusal("cron(60 10 * * ? *)"), HasSubstr("minutes: '60'"));
  EXPECT_THAT(refusal("cron(0 24 * * ? *)"), HasSubstr("hours: '24'"));
  EXPECT_THAT(refusal("cron(0 1-  * * ? *)"), HasSubstr("hours: '1-'"));
  EXPECT_THAT(refusal("cron(0/0 1 * * ? *)"), HasSubstr("minutes: '0/0'"));
  EXPECT_THAT(refusal("cron(0,,5 1 * * ? *)"), HasSubstr("minutes: '0,,5'"));
  EXPECT_THAT(refusal("cron(-5 1 * * ? *)"), HasSubstr("minutes: '-5'"));
  EXPECT_THAT(refusal("cron(? 1 * * ? *)"), HasSubstr("minutes: '?'"));
  EXPECT_THAT(refusal("cron(0 1 32 * ? *)"), HasSubstr("day of month: '32'"));
  EXPECT_THAT(refusal("cron(0 1 * XYZ ? *)"), HasSubstr("month: 'XYZ'"));
  EXPECT_THAT(refusal("cron(0 1 ? * 8 *)"), HasSubstr("day of week: '8'"));
  EXPECT_THAT(refusal("cron(0 1 ? * 3#1,6#3 *)"), HasSubstr("with # it is one day"));
  EXPECT_THAT(refusal("cron(0 1 ? * 3#6 *)"), HasSubstr("with # it is one day"));
  EXPECT_THAT(refusal("cron(0 1 ? * * 1969)"), HasSubstr("year: '1969'"));
  EXPECT_THAT(refusal("cron(0 1 ? * * 2030-2029)"), HasSubstr("year: '2030-2029'"));
  EXPECT_THAT(refusal("cron(0 1 * * * *)"), HasSubstr("exactly one of"));
  EXPECT_THAT(refusal("cron(0 1 ? * ? *)"), HasSubstr("exactly one of"));
  EXPECT_THAT(refusal("cron(0 1 1 * MON *)"), HasSubstr("exactly one of"));
  EXPECT_THAT(refusal("cron(0 1 30 FEB ? *)"), HasSubstr("no such day ever comes"));
}

}  // namespace
}  // namespace holdfast
