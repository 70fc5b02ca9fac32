#include "model/cron.h"

#include <array>
#include <charconv>
#include <chrono>  // tidy: allow clock, because of its calendar: no clock is read
#include <vector>

namespace holdfast {
namespace {

namespace calendar = std::chrono;  // tidy: allow clock, because no clock is read
using calendar::day;
using calendar::month;
using calendar::sys_days;
using calendar::year;
using calendar::year_month_day;

constexpr std::int64_t kMinuteNs = 60'000'000'000;
constexpr std::int64_t kMinutesOfDay = 24 * 60;
constexpr int kYearMin = 1970, kYearMax = 2199;
constexpr std::uint32_t kSaturday = 7;

constexpr auto kMonths = std::to_array<std::string_view>(
    {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"});
constexpr auto kWeekdays =
    std::to_array<std::string_view>({"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"});

struct Field {
  std::string_view name;
  std::uint32_t least, most;
  std::string_view allowed;  // for people
  const std::string_view* words = nullptr;
  std::size_t word_count = 0;
};
constexpr Field kMinutesField{"minutes", 0, 59, "0-59 and , - * /"};
constexpr Field kHoursField{"hours", 0, 23, "0-23 and , - * /"};
constexpr Field kDaysField{"day of month", 1, 31, "1-31 and , - * ? / L W"};
constexpr Field kMonthsField{"month",       1, 12, "1-12 or JAN-DEC and , - * /", kMonths.data(),
                             kMonths.size()};
constexpr Field kWeekdaysField{
    "day of week", 1, 7, "1-7 or SUN-SAT and , - * ? L #", kWeekdays.data(), kWeekdays.size()};
constexpr Field kYearsField{"year", kYearMin, kYearMax, "1970-2199 and , - * /"};

Error refused(const Field& field, std::string_view text) {
  return {Errc::kInvalidField, std::string(field.name) + ": '" + std::string(text) +
                                   "' is not understood; it may be " + std::string(field.allowed)};
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (std::size_t from = 0;;) {
    const std::size_t to = text.find(at, from);
    parts.push_back(text.substr(from, to == text.npos ? to : to - from));
    if (to == text.npos) return parts;
    from = to + 1;
  }
}

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

// A number, without a sign, or a name.
std::optional<std::uint32_t> value_of(const Field& field, std::string_view text) {
  std::uint32_t value = 0;
  const char* const end = text.data() + text.size();
  if (const auto [at, error] = std::from_chars(text.data(), end, value);
      error == std::errc{} && at == end && value >= field.least && value <= field.most)
    return value;
  for (std::size_t i = 0; i < field.word_count; ++i) {
    const std::string_view word = field.words[i];
    bool is_same = word.size() == text.size();
    for (std::size_t c = 0; is_same && c < word.size(); ++c) is_same = word[c] == upper(text[c]);
    if (is_same) return field.least + static_cast<std::uint32_t>(i);
  }
  return std::nullopt;
}

// "*", "5", "5-9", "22-2", and each of them with "/3".
template <std::size_t kBits>
bool add_item(const Field& field, std::string_view item, std::bitset<kBits>& into) {
  const std::size_t slash = item.find('/');
  const bool has_step = slash != item.npos;
  std::uint32_t step = 1;
  if (has_step) {
    const std::string_view text = item.substr(slash + 1);
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, step);
    if (error != std::errc{} || at != end || step == 0 || step > field.most) return false;
  }
  const std::string_view range = item.substr(0, slash);
  const std::size_t dash = range.find('-');
  std::uint32_t first = field.least, last = field.most;
  if (range != "*") {
    const auto from = value_of(field, range.substr(0, dash));
    const auto to = dash == range.npos ? from : value_of(field, range.substr(dash + 1));
    if (!from || !to) return false;
    first = *from;
    last = dash == range.npos && has_step ? field.most : *to;
  }
  if (last < first && field.most == kYearMax) return false;  // years do not come round
  const std::uint32_t round = field.most - field.least + 1;
  const std::uint32_t count = last >= first ? last - first : last + round - first;
  for (std::uint32_t i = 0; i <= count; i += step)
    into.set(field.least + (first - field.least + i) % round);
  return true;
}

template <std::size_t kBits>
Result<void> read_field(const Field& field, std::string_view text, std::bitset<kBits>& into) {
  for (const std::string_view item : split(text, ','))
    if (!add_item(field, item, into)) return refused(field, text);
  return {};
}

Result<void> read_days(std::string_view text, CronSchedule& schedule) {
  for (const std::string_view item : split(text, ',')) {
    if (item == "L") {
      schedule.last_day = true;
    } else if (item.ends_with('W')) {
      const auto near = value_of(kDaysField, item.substr(0, item.size() - 1));
      if (!near || text != item) return refused(kDaysField, text);
      schedule.near_day = *near;
    } else if (!add_item(kDaysField, item, schedule.days)) {
      return refused(kDaysField, text);
    }
  }
  return {};
}

Result<void> read_weekdays(std::string_view text, CronSchedule& schedule) {
  schedule.by_weekday = true;
  if (const std::size_t hash = text.find('#'); hash != text.npos) {
    const auto weekday = value_of(kWeekdaysField, text.substr(0, hash));
    const std::string_view nth = text.substr(hash + 1);
    if (!weekday || nth.size() != 1 || nth[0] < '1' || nth[0] > '5')
      return Error{Errc::kInvalidField, "day of week: '" + std::string(text) +
                                            "' is not understood; with # it is one day and which "
                                            "of the month, as in 3#2"};
    schedule.weekdays.set(*weekday);
    schedule.nth = static_cast<std::uint32_t>(nth[0] - '0');
    return {};
  }
  for (const std::string_view item : split(text, ',')) {
    if (item == "L") {
      schedule.weekdays.set(kSaturday);
    } else if (item.ends_with('L')) {
      const auto last = value_of(kWeekdaysField, item.substr(0, item.size() - 1));
      if (!last || text != item) return refused(kWeekdaysField, text);
      schedule.last_weekday = *last;
    } else if (!add_item(kWeekdaysField, item, schedule.weekdays)) {
      return refused(kWeekdaysField, text);
    }
  }
  return {};
}

std::uint32_t weekday_of(const year_month_day& date) {
  return calendar::weekday(sys_days(date)).c_encoding() + 1;
}

std::uint32_t days_in(const year_month_day& date) {
  return static_cast<unsigned>((date.year() / date.month() / calendar::last).day());
}

// The weekday closest to the day of this month, within the month.
std::uint32_t nearest_weekday(const year_month_day& date, std::uint32_t wanted) {
  const std::uint32_t in_month = days_in(date);
  if (wanted > in_month) return 0;
  const std::uint32_t weekday = weekday_of(date.year() / date.month() / day(wanted));
  if (weekday == kSaturday) return wanted > 1 ? wanted - 1 : wanted + 2;
  if (weekday == 1) return wanted < in_month ? wanted + 1 : wanted - 2;
  return wanted;
}

bool has_day(const CronSchedule& schedule, const year_month_day& date) {
  const int in_year = static_cast<int>(date.year());
  const auto in_month = static_cast<unsigned>(date.month());
  const auto on_day = static_cast<unsigned>(date.day());
  if (!schedule.years[static_cast<std::size_t>(in_year)] || !schedule.months[in_month])
    return false;
  const std::uint32_t weekday = weekday_of(date);
  if (schedule.by_weekday) {
    if (weekday == schedule.last_weekday && on_day + 7 > days_in(date)) return true;
    return schedule.weekdays[weekday] &&
           (schedule.nth == 0 || (on_day - 1) / 7 + 1 == schedule.nth);
  }
  return schedule.days[on_day] || (schedule.last_day && on_day == days_in(date)) ||
         (schedule.near_day != 0 && on_day == nearest_weekday(date, schedule.near_day));
}

}  // namespace

std::optional<WallTime> next_after(const CronSchedule& schedule, WallTime after) {
  // The first minute that is not before it.
  std::int64_t minute = after.ns < 0 ? 0 : after.ns / kMinuteNs + 1;
  sys_days date{calendar::days(minute / kMinutesOfDay)};
  std::int64_t of_day = minute % kMinutesOfDay;
  while (true) {
    const year_month_day civil(date);
    const int in_year = static_cast<int>(civil.year());
    if (in_year > kYearMax) return std::nullopt;
    if (!schedule.years[static_cast<std::size_t>(in_year)]) {
      date = sys_days(year(in_year + 1) / month(1) / day(1));
      of_day = 0;
      continue;
    }
    if (has_day(schedule, civil)) {
      for (std::int64_t at = of_day; at < kMinutesOfDay; ++at)
        if (schedule.hours[static_cast<std::size_t>(at / 60)] &&
            schedule.minutes[static_cast<std::size_t>(at % 60)])
          return WallTime{(date.time_since_epoch().count() * kMinutesOfDay + at) * kMinuteNs};
    }
    date += calendar::days(1);
    of_day = 0;
  }
}

Result<CronSchedule> parse_cron(std::string_view expression) {
  constexpr std::string_view kBegin = "cron(";
  const Error shape{Errc::kInvalidField,
                    "'" + std::string(expression.substr(0, 256)) +
                        "' is no schedule; write cron(MINUTES HOURS DAY-OF-MONTH MONTH "
                        "DAY-OF-WEEK YEAR), as in cron(0 3 ? * SUN *), in UTC"};
  if (!expression.starts_with(kBegin) || !expression.ends_with(')')) return shape;
  const std::string_view inside =
      expression.substr(kBegin.size(), expression.size() - kBegin.size() - 1);
  std::vector<std::string_view> words;
  for (const std::string_view word : split(inside, ' '))
    if (!word.empty()) words.push_back(word);
  if (words.size() != 6) return shape;
  CronSchedule schedule;
  HF_TRY_VOID(read_field(kMinutesField, words[0], schedule.minutes));
  HF_TRY_VOID(read_field(kHoursField, words[1], schedule.hours));
  HF_TRY_VOID(read_field(kMonthsField, words[3], schedule.months));
  HF_TRY_VOID(read_field(kYearsField, words[5], schedule.years));
  if ((words[2] == "?") == (words[4] == "?"))
    return Error{Errc::kInvalidField, "'" + std::string(expression) +
                                          "': exactly one of day of month and day of week is ?"};
  HF_TRY_VOID(words[4] == "?" ? read_days(words[2], schedule) : read_weekdays(words[4], schedule));
  if (!next_after(schedule, WallTime{}))
    return Error{Errc::kInvalidField, "'" + std::string(expression) + "': no such day ever comes"};
  return schedule;
}

std::string utc_text(WallTime time) {
  const std::int64_t minute = time.ns / kMinuteNs;
  const year_month_day civil(sys_days(calendar::days(minute / kMinutesOfDay)));
  const auto two = [](std::int64_t value) {
    return (value < 10 ? "0" : "") + std::to_string(value);
  };
  return std::to_string(static_cast<int>(civil.year())) + "-" +
         two(static_cast<unsigned>(civil.month())) + "-" + two(static_cast<unsigned>(civil.day())) +
         " " + two(minute % kMinutesOfDay / 60) + ":" + two(minute % 60) + " UTC";
}

}  // namespace holdfast
