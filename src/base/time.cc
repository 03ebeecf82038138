#include "base/time.h"

#include <fmt/compile.h>

#include <array>
#include <charconv>

namespace roster {
namespace {

bool take_digits(std::string_view& text, std::size_t count, int& value) {
  if (text.size() < count) return false;
  value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return true;
}

bool take_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// ".123456" to milliseconds.
bool take_fraction(std::string_view& text, int& millis) {
  millis = 0;
  if (text.empty() || text.front() != '.') return true;
  text.remove_prefix(1);
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
    if (digits < 3) millis = millis * 10 + (text[digits] - '0');
    ++digits;
  }
  if (digits == 0 || digits > 9) return false;
  for (std::size_t i = digits; i < 3; ++i) millis *= 10;
  text.remove_prefix(digits);
  return true;
}

bool take_zone(std::string_view& text, int& offset_minutes) {
  offset_minutes = 0;
  if (take_char(text, "Zz")) return true;
  if (text.empty()) return false;
  const int sign = text.front() == '-' ? -1 : 1;
  int hours = 0;
  int minutes = 0;
  if (!take_char(text, "+-") || !take_digits(text, 2, hours) || !take_char(text, ":") ||
      !take_digits(text, 2, minutes) || hours > 23 || minutes > 59) {
    return false;
  }
  offset_minutes = sign * (hours * 60 + minutes);
  return true;
}

}  // namespace

Timestamp system_now() {
  return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

std::chrono::milliseconds steady_now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now().time_since_epoch());
}

std::string format_rfc3339(Timestamp t) {
  const auto day = std::chrono::floor<std::chrono::days>(t);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(t - day);
  return fmt::format(FMT_COMPILE("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z"),
                     static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()), time.hours().count(),
                     time.minutes().count(), time.seconds().count(), time.subseconds().count());
}

Result<Timestamp> parse_rfc3339(std::string_view text) {
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int millis = 0;
  int offset = 0;
  const bool shaped =
      take_digits(text, 4, year) && take_char(text, "-") && take_digits(text, 2, month) &&
      take_char(text, "-") && take_digits(text, 2, day) && take_char(text, "Tt ") &&
      take_digits(text, 2, hour) && take_char(text, ":") && take_digits(text, 2, minute) &&
      take_char(text, ":") && take_digits(text, 2, second) && take_fraction(text, millis) &&
      take_zone(text, offset) && text.empty();
  const std::chrono::year_month_day date(std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!shaped || !date.ok() || hour > 23 || minute > 59 || second > 60) {
    return fail(Code::kInvalidArgument,
                "not a date and time with zone, as in 2026-11-21T07:41:54Z (RFC 3339)");
  }
  return Timestamp(std::chrono::sys_days(date)) + std::chrono::hours(hour) +
         std::chrono::minutes(minute - offset) + std::chrono::seconds(second) +
         std::chrono::milliseconds(millis);
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    std::int64_t millis;
  };
  constexpr std::array<Unit, 5> kUnits{
      {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
  std::int64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const Unit& known : kUnits) {
    if (problem == std::errc{} && unit == known.name && number >= 0 &&
        number <= std::int64_t{36500} * 86'400'000 / known.millis) {
      return std::chrono::milliseconds(number * known.millis);
    }
  }
  return fail(Code::kInvalidArgument, "not a duration such as 90d, 12h, 30m, 45s or 500ms");
}

}  // namespace roster
