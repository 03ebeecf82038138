#include "base/unicode.h"

#include <gtest/gtest.h>

namespace roster {
namespace {

TEST(Unicode, CaseKeyMakesEqualWhatLooksEqual) {
  EXPECT_EQ(case_key("Alice@Example.ORG").value(), "alice@example.org");
  EXPECT_EQ(case_key("STRASSE").value(), case_key("straße").value());
  EXPECT_EQ(case_key("\xC3\x84").value(), case_key("a\xCC\x88").value());  // Ä, composed or not
  EXPECT_EQ(case_key("\xEF\xBC\xA1").value(), "a");                        // full-width A
  EXPECT_FALSE(case_key("\xff"));
}

TEST(Unicode, BaseLetters) {
  EXPECT_EQ(fold_to_base_letters("Zoë Ångström").value(), "zoe angstrom");
}

TEST(Unicode, Utf8Validity) {
  EXPECT_TRUE(is_valid_utf8("é€😀"));
  for (const char* bad : {"\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\x80"}) {
    EXPECT_FALSE(is_valid_utf8(bad));
  }
}

TEST(Unicode, ControlCharacters) {
  for (const char* bad : {"a\nb", "\x7f", "\x1b[0m", "x\xc2\x85y"}) {
    EXPECT_TRUE(has_control_characters(bad));
  }
  EXPECT_FALSE(has_control_characters("plain é\xc2\xa0"));
}

}  // namespace
}  // namespace roster
