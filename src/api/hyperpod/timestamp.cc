#include "api/hyperpod/timestamp.h"

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

namespace holdfast::hyperpod {
namespace {

constexpr std::int64_t kBillion = 1'000'000'000;
constexpr std::int64_t kSecondsMax = INT64_MAX / kBillion - 1;

// Takes what it reads from the front of a text; false once something was not there.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  bool take(char wanted) {
    if (rest_.empty() || rest_.front() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) { ok_ = take(wanted) && ok_; }
  int number(std::size_t digits, int most) {
    int value = 0;
    const char* begin = rest_.data();
    const std::size_t length = std::min(digits, rest_.size());
    const auto [end, error] = std::from_chars(begin, begin + length, value);
    ok_ = ok_ && length == digits && error == std::errc{} && end == begin + digits &&
          *begin != '-' && value <= most;
    if (ok_) rest_.remove_prefix(digits);
    return value;
  }
  // Of a second; digits behind the ninth say nothing.
  std::int64_t fraction() {
    std::int64_t ns = 0, digit = kBillion / 10;
    std::size_t read = 0;
    for (; read < rest_.size() && rest_[read] >= '0' && rest_[read] <= '9'; ++read, digit /= 10)
      ns += digit * (rest_[read] - '0');
    ok_ = ok_ && read > 0;
    rest_.remove_prefix(read);
    return ns;
  }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

std::optional<WallTime> in_range(std::int64_t seconds, std::int64_t ns) {
  if (seconds < 0 || seconds > kSecondsMax) return std::nullopt;
  return WallTime{seconds * kBillion + ns};
}

std::optional<WallTime> read_text(std::string_view text) {
  namespace chrono = std::chrono;
  Reader reader(text);
  const int year = reader.number(4, 9999);
  reader.expect('-');
  const int month = reader.number(2, 12);
  reader.expect('-');
  const int day = reader.number(2, 31);
  reader.expect('T');
  const int hour = reader.number(2, 23);
  reader.expect(':');
  const int minute = reader.number(2, 59);
  reader.expect(':');
  const int second = reader.number(2, 59);
  const std::int64_t ns = reader.take('.') ? reader.fraction() : 0;
  int offset = 0;
  if (!reader.take('Z')) {
    const bool is_behind = reader.take('-');
    if (!is_behind) reader.expect('+');
    const int hours = reader.number(2, 23);
    reader.expect(':');
    offset = (hours * 60 + reader.number(2, 59)) * (is_behind ? -1 : 1);
  }
  const chrono::year_month_day date(chrono::year(year), chrono::month(static_cast<unsigned>(month)),
                                    chrono::day(static_cast<unsigned>(day)));
  if (!reader.ok() || !reader.at_end() || !date.ok()) return std::nullopt;
  const std::int64_t days = chrono::sys_days(date).time_since_epoch().count();
  return in_range(((days * 24 + hour) * 60 + minute - offset) * 60 + second, ns);
}

}  // namespace

std::optional<WallTime> read_timestamp(const nlohmann::json& value) {
  if (value.is_string()) return read_text(value.get_ref<const std::string&>());
  // What is beyond the signed numbers turns negative.
  if (value.is_number_integer()) return in_range(value.get<std::int64_t>(), 0);
  if (!value.is_number_float()) return std::nullopt;
  const double seconds = value.get<double>();
  if (!(seconds >= 0 && seconds <= static_cast<double>(kSecondsMax))) return std::nullopt;
  const double whole = std::floor(seconds);
  // A double has microseconds here, no more.
  return in_range(static_cast<std::int64_t>(whole), std::llround((seconds - whole) * 1e6) * 1000);
}

nlohmann::json write_timestamp(WallTime time) {
  return static_cast<double>(time.ns / 1'000'000) / 1000.0;
}

void append_timestamp(std::string& out, WallTime time) {
  const std::int64_t ms = time.ns / 1'000'000;
  const std::string fraction = std::to_string(1000 + ms % 1000);
  out.append(std::to_string(ms / 1000)).append(1, '.').append(fraction, 1);
}

}  // namespace holdfast::hyperpod
