#include "posix/gecos.h"

#include <gtest/gtest.h>

#include "base/unicode.h"

namespace roster::posix {
namespace {

struct GecosCase {
  std::string text;
  std::string_view gecos;
};

TEST(GecosTest, Table) {
  const GecosCase cases[] = {
      {"", ""},
      {"Alice Adams", "Alice Adams"},
      {"José Núñez", "José Núñez"},
      {"李雷", "李雷"},
      {"😀 Bob", "😀 Bob"},
      {"Adams, Alice", "Adams Alice"},
      // These two set the home directory and a uid-0 account in a writer that copies them.
      {"x:/root:/bin/zsh", "x /root /bin/zsh"},
      {"x\nroot2:x:0:0::/root:/bin/sh", "x root2 x 0 0 /root /bin/sh"},
      {std::string("a\0b", 3), "a b"},
      {"a\r\n\tb", "a b"},
      {"  a   b  ", "a b"},
      {":::", ""},
      {"\x1b[31mred\x1b[0m", "[31mred [0m"},
      {"a\x7f"
       "b",
       "a b"},
      {"a\xC2\x85"
       "b",
       "a b"},  // C1: next line
      {"a\xC2\xA0"
       "b",
       "a b"},  // no-break space
      {"a\xE2\x80\xA8"
       "b",
       "a b"},  // line separator
      {"a\xE2\x80\xAE"
       "b",
       "a b"},  // right-to-left override
      {"a\xE2\x81\xA6"
       "b",
       "a b"},           // isolate
      {"عربي", "عربي"},  // right-to-left letters stay
      {"a\xff"
       "b\xC3",
       "ab"},  // not UTF-8
      {"a\xC0\xBA"
       "b",
       "ab"},  // overlong ':'
      {"a\xED\xA0\x80"
       "b",
       "ab"},  // surrogate
      {"a\xF4\x90\x80\x80"
       "b",
       "ab"},  // beyond U+10FFFF
      {"a\xE0\x80\xBA"
       "b",
       "ab"},              // overlong in three bytes
      {"a\xC3:b", "a b"},  // a cut character must not swallow the ':'
  };
  for (const GecosCase& c : cases) {
    EXPECT_EQ(sanitize_gecos(c.text), c.gecos) << c.text;
    EXPECT_EQ(sanitize_gecos(c.gecos), c.gecos);
  }
}

TEST(GecosTest, LengthIsCutBetweenCharacters) {
  EXPECT_EQ(sanitize_gecos(std::string(1 << 20, 'x')), std::string(256, 'x'));
  EXPECT_EQ(sanitize_gecos(std::string(255, 'x') + "é"), std::string(255, 'x'));
  EXPECT_EQ(sanitize_gecos(std::string(254, 'x') + "é"), std::string(254, 'x') + "é");
  EXPECT_EQ(sanitize_gecos(std::string(255, 'x') + " y"), std::string(255, 'x'));
  EXPECT_EQ(sanitize_gecos(std::string(254, 'x') + " y"), std::string(254, 'x') + " y");
}

// Whatever comes in, one field of one line comes out.
TEST(GecosTest, EveryPairOfBytesGivesACleanField) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string out =
          sanitize_gecos(std::string{'x', static_cast<char>(a), static_cast<char>(b), 'y'});
      ASSERT_TRUE(is_valid_utf8(out)) << a << " " << b;
      ASSERT_FALSE(has_control_characters(out)) << a << " " << b;
      ASSERT_EQ(out.find_first_of(":,\n"), out.npos) << a << " " << b;
    }
  }
}

}  // namespace
}  // namespace roster::posix
