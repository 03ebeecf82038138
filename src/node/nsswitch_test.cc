#include "node/nsswitch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace roster::node {
namespace {

std::string added(std::string_view text) {
  const auto edited = add_nss_source(text);
  return edited ? edited->text : "error: " + edited.error().message;
}

constexpr std::string_view kRest = "group: files roster\nshadow: files roster\n";

TEST(Nsswitch, ThePlaceIsBehindTheNodesOwnAccounts) {
  const struct {
    const char* line;
    const char* expected;
  } kCases[] = {
      {"passwd:         files systemd", "passwd:         files roster systemd"},
      {"passwd: files", "passwd: files roster"},
      {"passwd:files", "passwd:files roster"},
      {"passwd: files cache", "passwd: files roster cache"},
      {"passwd: files sss # from the image", "passwd: files roster sss # from the image"},
      {"passwd: files#roster", "passwd: files roster#roster"},
      {"passwd: sss files systemd", "passwd: sss files roster systemd"},
      {"passwd: compat\tldap", "passwd: compat roster\tldap"},
      {"passwd: files altfiles systemd", "passwd: files altfiles roster systemd"},
      {"passwd: db files", "passwd: db files roster"},
      {"passwd: sss", "passwd: sss roster"},
      {"passwd:", "passwd: roster"},
      {"passwd: files [SUCCESS=merge] systemd", "passwd: files [SUCCESS=merge] systemd roster"},
      {"passwd: files [SUCCESS=merge] sss [SUCCESS=merge] systemd ldap",
       "passwd: files [SUCCESS=merge] sss [SUCCESS=merge] systemd roster ldap"},
      {"passwd: files [UNAVAIL=return] sss", "passwd: files [UNAVAIL=return] roster sss"},
      {"passwd: files [SUCCESS=return]sss", "passwd: files [SUCCESS=return] roster sss"},
      {"passwd: files systemd\r", "passwd: files roster systemd\r"},
      {"passwd: roster files", "passwd: roster files"},
      {"passwd: files roster", "passwd: files roster"},
      {"passwd: files # roster", "passwd: files roster # roster"},
      {"  passwd: files rosterx", "  passwd: files roster rosterx"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(added(std::string(c.line) + "\n" + std::string(kRest)),
              std::string(c.expected) + "\n" + std::string(kRest));
  }
}

TEST(Nsswitch, InitgroupsOnlyWhereItIsAndItGoesOn) {
  const std::string base = "passwd: files roster\n" + std::string(kRest);
  EXPECT_EQ(added(base), base);
  EXPECT_EQ(added(base + "initgroups: files\n"),
            base + "initgroups: files [SUCCESS=continue] roster\n");
  EXPECT_EQ(added(base + "initgroups: files [SUCCESS=continue] sss\n"),
            base + "initgroups: files [SUCCESS=continue] roster [SUCCESS=continue] sss\n");
}

TEST(Nsswitch, DatabasesWithoutALineGetOne) {
  EXPECT_EQ(added(""), "passwd: files roster\ngroup: files roster\nshadow: files roster\n");
  EXPECT_EQ(added("hosts: dns"),
            "hosts: dns\npasswd: files roster\ngroup: files roster\nshadow: files roster");
  EXPECT_EQ(added("#passwd: files\n" + std::string(kRest)),
            "#passwd: files\n" + std::string(kRest) + "passwd: files roster\n");
}

TEST(Nsswitch, WhatWouldBeAmbiguousOrInVainIsRefused) {
  for (const char* text :
       {"passwd: files\npasswd: sss\n", "passwd : files\n", "passwd\n",
        "passwd: files [NOTFOUND=return] sss\n", "passwd: files [notfound=return] sss\n",
        "passwd: files [!UNAVAIL=return] sss\n", "passwd: files [\n",
        "passwd: sss [NOTFOUND=return] files\n"}) {
    const auto edited = add_nss_source(text);
    ASSERT_FALSE(edited) << text << edited->text;
    EXPECT_EQ(edited.error().code, Code::kFailedPrecondition);
  }
  // Behind the place an action ends nothing of ours.
  EXPECT_TRUE(add_nss_source("passwd: files sss [NOTFOUND=return] ldap\n"));
}

TEST(Nsswitch, WhatTheOperatorChangedInBetweenStays) {
  const std::string text = "passwd: files systemd\n" + std::string(kRest);
  const auto edited = add_nss_source(text);
  ASSERT_TRUE(edited);
  ASSERT_EQ(edited->insertions.size(), 1U);  // the others were there, and are not ours
  const struct {
    const char* now;
    const char* then;
  } kCases[] = {
      {"passwd: files roster systemd sss\n# mine\n", "passwd: files systemd sss\n# mine\n"},
      {"passwd:\tfiles\troster\tsystemd\n", "passwd:\tfiles\tsystemd\n"},
      {"passwd: roster files\n", "passwd: files\n"},
      {"passwd:roster files\n", "passwd:files\n"},
      {"passwd: files systemd\n", "passwd: files systemd\n"},
      {"passwd: files roster [NOTFOUND=return] sss\n", "passwd: files [NOTFOUND=return] sss\n"},
      {"hosts: roster\n", "hosts: roster\n"},
      {"", ""},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(remove_nss_source(c.now, edited->insertions), c.then);
  }
  const auto lines = add_nss_source("hosts: dns");
  ASSERT_TRUE(lines);
  EXPECT_EQ(remove_nss_source(lines->text + "\nmine: files\n", lines->insertions),
            "hosts: dns\nmine: files\n");
  EXPECT_EQ(remove_nss_source("hosts: dns\npasswd: files roster sss\n", lines->insertions),
            "hosts: dns\npasswd: files sss\n");
}

/// Random files of what parsers stumble over: taking out gives back every byte, and adding twice
/// adds nothing.
TEST(Nsswitch, AddThenRemoveIsIdentity) {
  const std::vector<std::string> kWords = {"passwd:",
                                           "group:",
                                           "shadow:",
                                           "initgroups:",
                                           "hosts:",
                                           "files",
                                           "roster",
                                           "sss",
                                           "systemd",
                                           "cache",
                                           " ",
                                           "\t",
                                           "\n",
                                           "\n",
                                           "#",
                                           "\r\n",
                                           "compat",
                                           "[SUCCESS=merge]",
                                           "[!SUCCESS=x]",
                                           "[",
                                           "]",
                                           ":",
                                           "passwd",
                                           "\nshadow:",
                                           "[NOTFOUND=return]",
                                           "passwd: files",
                                           " ",
                                           "\n\n",
                                           " files",
                                           "roster ",
                                           "rosters",
                                           std::string(1, '\0')};
  std::mt19937 random(20261121);
  int added_some = 0;
  for (int round = 0; round < 15'000; ++round) {
    std::string text;
    for (auto words = random() % 20; words > 0; --words) text += kWords[random() % kWords.size()];
    const auto edited = add_nss_source(text);
    if (!edited) continue;
    ++added_some;
    ASSERT_EQ(remove_nss_source(edited->text, edited->insertions), text) << edited->text;
    const auto again = add_nss_source(edited->text);
    ASSERT_TRUE(again) << edited->text << again.error().message;
    ASSERT_TRUE(again->insertions.empty()) << edited->text;
    for (const char* database : {"passwd", "group", "shadow"}) {
      const auto sources = nss_sources(edited->text, database);
      ASSERT_TRUE(sources && *sources) << edited->text;
      ASSERT_NE(
          std::ranges::find((*sources)->begin(), (*sources)->end(), "roster", &NssSource::name),
          (*sources)->end());
    }
  }
  EXPECT_GT(added_some, 2'500);
}

}  // namespace
}  // namespace roster::node
