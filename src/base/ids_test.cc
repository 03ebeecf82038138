#include "base/ids.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace roster {
namespace {

// The list order of resources is the order of ids: it must follow creation, whatever the clock
// does.
TEST(Uuid, StrictlyIncreasesWithinAMillisecondAndWhenTheClockGoesBack) {
  std::int64_t now = 1'700'000'000'000;
  UuidGenerator generate([&now] { return from_millis(now); }, system_random);
  std::string last;
  for (int i = 0; i < 600'000; ++i) {
    if (i == 300'000) now -= 5'000;
    if (i == 400'000) now += 10'000;
    std::string next = generate.next();
    ASSERT_LT(last, next) << i;
    last = std::move(next);
  }
}

TEST(Uuid, HasVersionAndVariant) {
  UuidGenerator generate([] { return from_millis(0x017F22E279B0); }, system_random);
  const std::string id = generate.next();
  ASSERT_TRUE(is_uuid(id)) << id;
  EXPECT_EQ(id.substr(0, 13), "017f22e2-79b0");  // RFC 9562 A.6
  EXPECT_EQ(id[14], '7');
  EXPECT_NE(std::string_view("89ab").find(id[19]), std::string_view::npos);
}

TEST(Uuid, ShapeIsChecked) {
  EXPECT_TRUE(is_uuid("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"));
  for (const char* bad :
       {"", "017f22e2-79b0-7cc3-98c4-dc0c0c07398", "017F22E2-79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2x79b0-7cc3-98c4-dc0c0c07398f"}) {
    EXPECT_FALSE(is_uuid(bad)) << bad;
  }
}

}  // namespace
}  // namespace roster
