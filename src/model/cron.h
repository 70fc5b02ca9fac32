#pragma once

// Times that come again and again, as AWS writes them (EventBridge, "Cron expressions reference"):
//
//   cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR)      all in UTC
//
//   minutes 0-59, hours 0-23     , - * /
//   day of month 1-31            , - * ? / L (the last one) and 3W (the weekday closest to the 3rd)
//   month 1-12 or JAN-DEC        , - * /
//   day of week 1-7 or SUN-SAT   , - * ? L (the last one: Saturday), 6L (the month's last Friday)
//                                and 3#2 (its second Tuesday)
//   year 1970-2199               , - * /
//
// Either the day of the month or the day of the week is ?. A range may go round: 20-2 hours are
// 20, ..., 23, 0, 1 and 2, MON-FRI and FRI-MON are both days.

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace holdfast {

struct CronSchedule {
  std::bitset<60> minutes;
  std::bitset<24> hours;
  std::bitset<32> days;     // 1-31
  std::bitset<13> months;   // 1-12
  std::bitset<8> weekdays;  // 1: Sunday
  std::bitset<2200> years;
  bool by_weekday = false;         // else by `days` and the next two
  bool last_day = false;           // of the month
  std::uint32_t near_day = 0;      // the weekday closest to it; 0: none
  std::uint32_t last_weekday = 0;  // of the month, besides `weekdays`; 0: none
  std::uint32_t nth = 0;           // only the nth of the month of each of `weekdays`; 0: all
};

// kInvalidField: names the field, its value and what it may be; or the expression, when no such
// time ever comes.
[[nodiscard]] Result<CronSchedule> parse_cron(std::string_view expression);

// The first time after `after`, to the minute; nullopt: there is none.
[[nodiscard]] std::optional<WallTime> next_after(const CronSchedule& schedule, WallTime after);

// "2026-12-01 03:30 UTC"
[[nodiscard]] std::string utc_text(WallTime time);

}  // namespace holdfast
