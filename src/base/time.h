#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace roster {

/// Wall clock with the resolution we store: milliseconds since 1970-01-01T00:00:00Z.
using Timestamp = std::chrono::sys_time<std::chrono::milliseconds>;

/// Time is a parameter: what needs it takes a Clock, so that a test can hold it still.
using Clock = std::function<Timestamp()>;

/// The real clock. Called in base and in programs' mains only.
Timestamp system_now();

/// For how long something lasts: time since some moment, which nobody sets forward or back.
using MonotonicClock = std::function<std::chrono::milliseconds()>;

/// CLOCK_MONOTONIC.
std::chrono::milliseconds steady_now();

inline std::int64_t to_millis(Timestamp t) { return t.time_since_epoch().count(); }
inline Timestamp from_millis(std::int64_t ms) { return Timestamp(std::chrono::milliseconds(ms)); }

/// RFC 3339 in UTC with milliseconds: "2026-11-21T07:41:54.123Z" (xsd:dateTime of RFC 7643 2.3.5).
std::string format_rfc3339(Timestamp t);

/// Accepts any RFC 3339 zone and 0 to 9 fraction digits (cut to milliseconds).
Result<Timestamp> parse_rfc3339(std::string_view text);

/// "90d", "12h", "30m", "45s", "500ms"; one number and one unit. kInvalidArgument otherwise.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace roster
