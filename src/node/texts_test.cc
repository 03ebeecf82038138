#include "node/texts.h"

#include <gtest/gtest.h>

#include "node/record.h"

namespace roster::node {
namespace {

TEST(Texts, SudoersNamesNumbersOnly) {
  Settings settings;
  settings.sudo_gids = {20001, 20002};
  const std::string text = sudoers_text(settings);
  EXPECT_NE(text.find("\n%#20001 ALL=(ALL:ALL) NOPASSWD: ALL\n%#20002 ALL"), std::string::npos);
}

TEST(Texts, IncludesAsSshdReadsThem) {
  const std::filesystem::path snippet = "/etc/ssh/sshd_config.d/50-roster.conf";
  const struct {
    const char* text;
    bool included;
  } kCases[] = {
      {"Include /etc/ssh/sshd_config.d/*.conf\n", true},
      {"  include\t\"/etc/ssh/sshd_config.d/*.conf\"\r\n", true},
      {"Include=/etc/ssh/sshd_config.d/*.conf", true},
      {"Include /x/*.conf sshd_config.d/50-*.conf\n", true},
      {"#Include /etc/ssh/sshd_config.d/*.conf\n", false},
      {"Include /etc/ssh/*.conf\n", false},
      {"Include /x # /etc/ssh/sshd_config.d/*.conf\n", false},
      {"Match all\nInclude /etc/ssh/sshd_config.d/*.conf\n", false},
      {"", false},
  };
  for (const auto& c : kCases) EXPECT_EQ(includes(c.text, snippet), c.included) << c.text;
}

TEST(Texts, EffectiveValueOfAKeyword) {
  const std::string_view output =
      "usepam yes\nauthorizedkeyscommand /x %u\nauthorizedkeyscommanduser keys\n";
  EXPECT_EQ(effective(output, "authorizedkeyscommand"), "/x %u");
  EXPECT_EQ(effective(output, "authorizedkeyscommanduser"), "keys");
  EXPECT_EQ(effective(output, "authorizedkeys"), std::nullopt);
}

TEST(Texts, DiffsReadAsPatch1WouldTakeThem) {
  const struct {
    const char* before;
    const char* after;
    const char* diff;
  } kCases[] = {
      {"", "a\n", "--- x\n+++ y\n@@ -0,0 +1,1 @@\n+a\n"},
      {"a\n", "", "--- x\n+++ y\n@@ -1,1 +0,0 @@\n-a\n"},
      {"1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\nX\n6\n7\n8\n",
       "--- x\n+++ y\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+X\n 6\n 7\n 8\n"},
      {"a\nb\nc\n", "A\nb\nC\n", "--- x\n+++ y\n@@ -1,3 +1,3 @@\n-a\n+A\n b\n-c\n+C\n"},
      {"a", "a\n", "--- x\n+++ y\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n"},
      {"a\n", "a\n", ""},
      {"\x1b[1m\n", "", "--- x\n+++ y\n@@ -1,1 +0,0 @@\n-?[1m\n"},
  };
  for (const auto& c : kCases) EXPECT_EQ(unified_diff(c.before, c.after, "x", "y"), c.diff);
}

TEST(Settings, WhatGivesPowerIsChecked) {
  EXPECT_TRUE(validate(Settings()));
  for (const char* umask : {"", "077x", "8", "0000", "00777", "0775", "0770; x", "0755"}) {
    Settings settings;
    settings.home_umask = umask;
    EXPECT_FALSE(validate(settings)) << umask;
  }
  for (const char* umask : {"0077", "077", "0027", "0022", "002"}) {
    Settings settings;
    settings.home_umask = umask;
    EXPECT_TRUE(validate(settings)) << umask;
  }
  for (const std::int64_t gid : {0, 27, 999, 65534, 65535, -1}) {
    Settings settings;
    settings.sudo_gids = {gid};
    EXPECT_FALSE(validate(settings)) << gid;
  }
  Settings settings;
  settings.sudo_access = true;
  EXPECT_FALSE(validate(settings));
}

TEST(Record, RoundTripWithAnyBytes) {
  Record record;
  record.settings = Settings();
  record.settings->sudo_gids = {20001};
  record.files["/etc/nsswitch.conf"].insertions = {{"passwd", " roster"}, {"", "\n\xff"}};
  record.files["/etc/x"] = {
      .insertions = {}, .replaced = true, .before = RootFile{std::string("\0\xfe", 2), 0440, 0, 7}};
  record.made_parent = true;
  const auto parsed = Record::parse(record.to_json());
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(*parsed, record);
}

TEST(Record, WhatIsDamagedIsRefused) {
  const std::string good = Record().to_json();
  ASSERT_TRUE(Record::parse(good));
  for (std::size_t bytes = 0; bytes + 2 < good.size(); ++bytes) {
    EXPECT_FALSE(Record::parse(good.substr(0, bytes)));
  }
  EXPECT_FALSE(Record::parse(R"({"version":2,"files":{}})"));
  EXPECT_FALSE(Record::parse(R"({"version":1,"files":{"/x":{}}})"));
  EXPECT_FALSE(Record::parse(
      R"({"version":1,"files":{"/x":{"insertions":[],"replaced":true,"before":{"mode":4095}}}})"));
}

TEST(Record, JoinedKnowsWhatEitherDid) {
  Record former;
  former.settings = Settings();
  former.files["/a"].insertions = {{"passwd", " roster"}};
  former.files["/own"] = {
      .insertions = {}, .replaced = true, .before = RootFile{"old", 0644, 0, 0}};
  Record next;
  next.files["/a"].insertions = {{"passwd", " roster"}, {"group", " roster"}};
  next.files["/own"] = {.insertions = {}, .replaced = true, .before = std::nullopt};
  const Record joined = former.joined(next);
  EXPECT_FALSE(joined.settings);  // neither is in force as a whole
  EXPECT_EQ(joined.files.at("/a").insertions.size(), 2U);
  EXPECT_EQ(joined.files.at("/own").before->content, "old");
}

}  // namespace
}  // namespace roster::node
