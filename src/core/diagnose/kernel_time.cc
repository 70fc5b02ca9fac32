#include <algorithm>
#include <array>
#include <charconv>

#include "core/diagnose/kernel_log.h"

namespace holdfast {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// A cursor over the frame of a line; every read fails for good once one has failed.
struct Reader {
  std::string_view text;
  bool ok = true;

  std::int64_t number() {
    std::int64_t value = 0;
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    ok = ok && error == std::errc() && value >= 0;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return value;
  }
  void skip(std::string_view word) {
    ok = ok && text.starts_with(word);
    if (ok) text.remove_prefix(word.size());
  }
  // ".123456" or ",123" as nanoseconds; nothing there: 0.
  std::int64_t fraction() {
    if (text.empty() || (text.front() != '.' && text.front() != ',')) return 0;
    text.remove_prefix(1);
    std::int64_t value = 0, unit = kSecond;
    for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1)) {
      unit /= 10;
      value += (text.front() - '0') * unit;
    }
    return value;
  }
  std::int64_t month() {
    constexpr auto kMonths = std::to_array<std::string_view>(
        {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"});
    for (std::size_t i = 0; i < kMonths.size(); ++i) {
      if (!text.starts_with(kMonths[i])) continue;
      text.remove_prefix(3);
      return static_cast<std::int64_t>(i) + 1;
    }
    ok = false;
    return 1;
  }
  std::int64_t time_of_day() {
    const std::int64_t hours = number();
    skip(":");
    const std::int64_t minutes = number();
    skip(":");
    const std::int64_t seconds = number();
    ok = ok && hours < 24 && minutes < 60 && seconds <= 60;
    return ok ? (hours * 3600 + minutes * 60 + seconds) * kSecond + fraction() : 0;
  }
  // "Z", "+01:00", "-0500"; nothing: UTC.
  std::int64_t zone() {
    if (text.empty() || (text.front() != '+' && text.front() != '-')) return 0;
    const std::int64_t sign = text.front() == '-' ? -1 : 1;
    text.remove_prefix(1);
    std::int64_t hours = number();
    std::int64_t minutes = 0;
    if (text.starts_with(":")) {
      text.remove_prefix(1);
      minutes = number();
    } else if (hours >= 100) {
      minutes = hours % 100;
      hours /= 100;
    }
    ok = ok && hours <= 14 && minutes < 60;
    return ok ? sign * (hours * 3600 + minutes * 60) * kSecond : 0;
  }
};

// Days since 1970-01-01 of a date in the proleptic Gregorian calendar (Fliegel and Van Flandern).
std::int64_t days_since_1970(std::int64_t year, std::int64_t month, std::int64_t day) {
  const std::int64_t shift = (month - 14) / 12;
  return day - 32075 + 1461 * (year + 4800 + shift) / 4 + 367 * (month - 2 - shift * 12) / 12 -
         3 * ((year + 4900 + shift) / 100) / 4 - 2440588;
}

std::optional<std::int64_t> unix_ns(const Reader& reader, std::int64_t year, std::int64_t month,
                                    std::int64_t day, std::int64_t in_day) {
  if (!reader.ok || year < 1970 || year > 2200 || month < 1 || month > 12 || day < 1 || day > 31)
    return std::nullopt;
  return days_since_1970(year, month, day) * 86400 * kSecond + in_day;
}

// "2026-11-24T12:00:00.123456+00:00", also with a space
std::optional<std::int64_t> iso_time(std::string_view text) {
  Reader reader{text};
  const std::int64_t year = reader.number();
  reader.skip("-");
  const std::int64_t month = reader.number();
  reader.skip("-");
  const std::int64_t day = reader.number();
  if (reader.ok && reader.text.starts_with("T")) reader.text.remove_prefix(1);
  const std::int64_t in_day = reader.time_of_day();
  const std::int64_t zone = reader.zone();
  return unix_ns(reader, year, month, day, in_day - zone);
}

// "Nov 24 12:00:00"; with `year` 0 also its end: "Nov 24 12:00:00 2026"
std::optional<std::int64_t> month_time(std::string_view text, std::int64_t year) {
  Reader reader{text};
  const std::int64_t month = reader.month();
  const std::int64_t day = reader.number();
  const std::int64_t in_day = reader.time_of_day();
  if (year == 0) year = reader.number();
  return unix_ns(reader, year, month, day, in_day);
}

std::optional<std::int64_t> boot_time(std::string_view text) {
  Reader reader{text};
  const std::int64_t seconds = reader.number();
  if (!reader.ok || seconds > std::int64_t{1} << 32 || !reader.text.starts_with("."))
    return std::nullopt;
  return seconds * kSecond + reader.fraction();
}

// "1795493179.123456 host": as journalctl -o short-unix writes it
std::optional<std::int64_t> seconds_time(std::string_view text) {
  constexpr std::int64_t kFirst = 1'000'000'000, kLast = 4'000'000'000;  // 2001 to 2096
  Reader reader{text};
  const std::int64_t seconds = reader.number();
  if (!reader.ok || seconds < kFirst || seconds > kLast || !reader.text.starts_with("."))
    return std::nullopt;
  return seconds * kSecond + reader.fraction();
}

// Without what stands before the time: "<4>", "<4>1 " (RFC 5424), "kern  :err   : " (dmesg -x),
// "Tue " before a year (journalctl -o short-full).
std::string_view without_head(std::string_view line) {
  if (line.starts_with("<")) {
    line.remove_prefix(std::min(line.find('>') + 1, line.size()));
    if (line.starts_with("1 ")) line.remove_prefix(2);
  }
  constexpr std::size_t kFacility = 15, kWeekday = 4, kYear = 4;
  if (line.starts_with("kern  :")) line.remove_prefix(std::min(kFacility, line.size()));
  if (line.size() > kWeekday + kYear && line[kWeekday - 1] == ' ' && line[kWeekday + kYear] == '-')
    line.remove_prefix(kWeekday);
  return line;
}

}  // namespace

KernelTime kernel_time(std::string_view line, std::int32_t year) {
  KernelTime time;
  line = without_head(line);
  const auto open = line.substr(0, 160).find('[');
  if (open != std::string_view::npos) {
    const std::string_view inside = line.substr(open + 1, 40);
    time.since_boot_ns = boot_time(inside);
    constexpr std::size_t kWeekday = 4;  // "Thu "
    if (open == 0 && inside.size() > kWeekday)
      time.unix_ns = month_time(inside.substr(kWeekday), 0);
  }
  if (open == 0) return time;
  if (!time.unix_ns) time.unix_ns = iso_time(line);
  if (!time.unix_ns) time.unix_ns = month_time(line, year);
  if (time.unix_ns) return time;
  if ((time.unix_ns = seconds_time(line))) return time;
  Reader reader{line};  // /dev/kmsg: priority, sequence, microseconds
  reader.number();
  reader.skip(",");
  reader.number();
  reader.skip(",");
  const std::int64_t us = reader.number();
  constexpr std::int64_t kMost = std::int64_t{1} << 52;
  if (reader.ok && us < kMost && reader.text.starts_with(",")) time.since_boot_ns = us * 1000;
  return time;
}

}  // namespace holdfast
