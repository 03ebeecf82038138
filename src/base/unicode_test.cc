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

// Would catch: a shortcut for ASCII that looks past a byte at some place of a word.
TEST(Unicode, Utf8ValidityAtEveryPlace) {
  for (std::size_t size = 0; size <= 24; ++size) {
    std::string text(size, 'a');
    EXPECT_TRUE(is_valid_utf8(text));
    for (std::size_t at = 0; at < size; ++at) {
      text[at] = '\x80';
      EXPECT_FALSE(is_valid_utf8(text)) << at << " of " << size;
      text[at] = 'a';
    }
  }
}

TEST(Unicode, ControlCharacters) {
  for (const char* bad : {"a\nb", "\x7f", "\x1b[0m", "x\xc2\x85y"}) {
    EXPECT_TRUE(has_control_characters(bad));
  }
  EXPECT_FALSE(has_control_characters("plain é\xc2\xa0"));
  EXPECT_TRUE(is_printable_ascii(""));
  EXPECT_TRUE(is_printable_ascii(" to ~"));
  for (const char bad : {'\0', '\n', '\x1f', '\x7f', '\x80', '\xff'}) {
    for (std::size_t at = 0; at < 40; ++at) {
      std::string text(40, 'x');
      text[at] = bad;
      EXPECT_FALSE(is_printable_ascii(text)) << at;
    }
  }
}

// A display name from an identity provider must not move the administrator's cursor.
TEST(Unicode, ControlCharactersDoNotReachTheTerminal) {
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f\xc2\x9bz\xc3\xa9"), "a?[2Jb?c??z\xc3\xa9");
}

TEST(Unicode, PlainLowerLosesNothingButCase) {
  EXPECT_EQ(plain_lower("Alice@Example.ORG"), "alice@example.org");
  EXPECT_EQ(plain_lower("M\u00DCller"), "m\u00FCller");
  EXPECT_EQ(plain_lower("stra\u00DFe"), "stra\u00DFe");
  EXPECT_EQ(plain_lower("mu\u017Fe\u00FC"), "mu\u017Fe\u00FC") << "a long s is no s";
  EXPECT_EQ(plain_lower("do\u00ADr\u00E4"), "do\u00ADr\u00E4") << "a soft hyphen stays";
  EXPECT_EQ(plain_lower("\u212Aim"), std::nullopt) << "the Kelvin sign";
  EXPECT_EQ(plain_lower("u\u0308"), std::nullopt) << "not composed";
  EXPECT_EQ(plain_lower("\u0130van\u00E4"), std::nullopt) << "a dotted capital I";
  EXPECT_EQ(plain_lower("\xff"), std::nullopt);
}

}  // namespace
}  // namespace roster
