#include "mirror/python_ini.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace roster::mirror {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string value(const PythonIni& ini, std::string_view section, std::string_view key) {
  const auto got = ini.get(section, key);
  if (!got) return "error: " + got.error().message;
  return got->value_or("nothing");
}

PythonIni parsed(std::string_view text) {
  auto ini = PythonIni::parse(text);
  EXPECT_TRUE(ini) << ini.error().message;
  return ini ? std::move(*ini) : PythonIni();
}

// Each as Python 3.11's configparser reads it.
TEST(PythonIni, ReadsAsPythonDoes) {
  const PythonIni ini = parsed(
      "# comment\n; another\n[DEFAULT]\nA = 1\nb: two = three\nempty =\n"
      "long = first\n  second\n\n  # a comment leaves no trace\n  third\n\n\n"
      "[map]\nA=over\n  \nQuoted = \"x\"\n  [no section] = a part of the value\n[other]\n");
  EXPECT_THAT(ini.sections(), ElementsAre("map", "other"));
  EXPECT_EQ(value(ini, "DEFAULT", "a"), "1");
  EXPECT_EQ(value(ini, "map", "a"), "over");
  EXPECT_EQ(value(ini, "other", "a"), "1");
  EXPECT_EQ(value(ini, "map", "b"), "two = three");
  EXPECT_EQ(value(ini, "map", "empty"), "");
  EXPECT_EQ(value(ini, "map", "long"), "first\nsecond\n\nthird");
  EXPECT_EQ(value(ini, "map", "quoted"), "\"x\"\n[no section] = a part of the value");
  EXPECT_EQ(value(ini, "map", "absent"), "nothing");
  EXPECT_THAT(ini.keys("map"), ElementsAre("a", "b", "empty", "long", "quoted"));
}

TEST(PythonIni, Interpolates) {
  const PythonIni ini = parsed(
      "[DEFAULT]\nbase = https://%(host)s/scim\nhost = a\nhome = /mnt/home/%%u\nbad = 50%\n"
      "worse = %x\nround = %(again)s\nagain = %(round)s\ngone = %(nothing)s\n[map]\nHOST = b\n");
  EXPECT_EQ(value(ini, "DEFAULT", "base"), "https://a/scim");
  EXPECT_EQ(value(ini, "map", "base"), "https://b/scim");
  EXPECT_EQ(value(ini, "map", "home"), "/mnt/home/%u");
  EXPECT_THAT(value(ini, "map", "bad"), HasSubstr("[map] bad: a '%' stands before"));
  EXPECT_THAT(value(ini, "map", "worse"), HasSubstr("write %% for a percent sign"));
  EXPECT_THAT(value(ini, "map", "round"), HasSubstr("circle"));
  EXPECT_THAT(value(ini, "map", "gone"), HasSubstr("%(nothing)s: there is no such setting"));
}

TEST(PythonIni, ManyEmptyReferencesEnd) {
  std::string text = "[DEFAULT]\nv0 =\n";
  for (int i = 1; i < 10; ++i) {
    text += "v" + std::to_string(i) + " = ";
    for (int j = 0; j < 50; ++j) text += "%(v" + std::to_string(i - 1) + ")s";
    text += '\n';
  }
  EXPECT_THAT(value(parsed(text), "DEFAULT", "v9"), HasSubstr("too deeply"));
}

TEST(PythonIni, SaysWhichLineIsWrong) {
  for (const auto& [text, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {"a = 1\n", "line 1: a setting before the first [section]"},
           {"[x]\nword\n", "line 2: this is no setting"},
           {"[x]\n = 1\n", "line 2: this is no setting"},
           {"[x]\na=1\nA=2\n", "line 3: a is set twice"},
           {"[x]\n[x]\n", "line 2: the section [x] is there twice"},
           {"[x\n", "line 1: this is no section"},
           {"[]\n", "line 1: this is no section"},
           {"\xff", "not UTF-8"}}) {
    const auto ini = PythonIni::parse(text);
    ASSERT_FALSE(ini) << text;
    EXPECT_THAT(ini.error().message, HasSubstr(why)) << text;
  }
  EXPECT_EQ(PythonIni::parse("[x]\n", {.bytes_max = 3}).error().code, Code::kTooLarge);
}

}  // namespace
}  // namespace roster::mirror
