#include "base/time.h"

#include <gtest/gtest.h>

namespace roster {
namespace {

TEST(Time, ParsesEveryZoneFormToTheSameInstant) {
  for (const char* text : {"2026-11-21T07:41:54.120Z", "2026-11-21T08:41:54.12+01:00",
                           "2026-11-20t23:41:54.120999999-08:00", "2026-11-21 07:41:54.120z"}) {
    const auto t = parse_rfc3339(text);
    ASSERT_TRUE(t) << text;
    EXPECT_EQ(format_rfc3339(*t), "2026-11-21T07:41:54.120Z") << text;
  }
}

TEST(Time, RefusesWhatIsNoInstant) {
  for (const char* bad :
       {"", "2026-11-21", "2026-11-21T07:41:54", "2026-02-30T00:00:00Z", "2026-11-21T24:00:00Z",
        "2026-11-21T07:41:54.Z", "2026-11-21T07:41:54Zx", "2026-11-21T07:41:54+1:00"}) {
    EXPECT_FALSE(parse_rfc3339(bad)) << bad;
  }
}

TEST(Time, Durations) {
  EXPECT_EQ(parse_duration("90d").value(), std::chrono::days(90));
  EXPECT_EQ(parse_duration("500ms").value(), std::chrono::milliseconds(500));
  EXPECT_EQ(parse_duration("5m").value(), std::chrono::minutes(5));
  for (const char* bad : {"", "5", "d", "-1d", "1.5h", "5 m", "99999999999d", "1w"}) {
    EXPECT_FALSE(parse_duration(bad)) << bad;
  }
}

}  // namespace
}  // namespace roster
