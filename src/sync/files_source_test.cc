#include "sync/files_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "sync/testing/gathered.h"

namespace roster::sync {
namespace {

using reconcile::Text;
using ::testing::ElementsAre;
using testing::Gathered;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kToday = 20'000;

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/bash\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "\n"
    "# people\n"
    "alice:x:1000:1000:Alice Example,Room 1,,:/home/alice:/bin/bash\n"
    "bob:x:1001:2000:Bob:/export/home/bob:/bin/zsh\n"
    "carol:x:1002:1002:::/usr/sbin/nologin\n"
    "laptop$:x:1003:2000::/dev/null:/bin/false\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

constexpr std::string_view kGroup =
    "root:x:0:\n"
    "docker:x:998:alice\n"
    "alice:x:1000:\n"
    "carol:x:1002:carol,alice\n"
    "staff:x:2000:alice, carol\n"
    "project:x:2001:bob,bob,ldapuser,daemon\n"
    "empty:x:2002:\n";

Gathered gather(const AccountTexts& texts, const FilesOptions& options = {}) {
  Gathered gathered;
  const auto read = read_accounts(texts, options, kToday, gathered.intake());
  EXPECT_TRUE(read) << read.error().message;
  return gathered;
}

TEST(FilesSource, TellsPeopleAndTheirGroups) {
  const Gathered got = gather({.passwd = kPasswd, .group = kGroup});
  ASSERT_EQ(got.people.size(), 3u);
  const auto& alice = got.people.at("alice");
  EXPECT_EQ(alice.user_name, "alice");
  EXPECT_EQ(alice.text(Text::kDisplayName), "Alice Example");
  EXPECT_EQ(alice.text(Text::kHome), "/home/alice");
  EXPECT_EQ(alice.text(Text::kShell), "/bin/bash");
  EXPECT_FALSE(alice.text(Text::kEmail));
  EXPECT_FALSE(alice.ssh_keys);
  EXPECT_TRUE(alice.active);
  EXPECT_EQ(got.people.at("carol").text(Text::kDisplayName), "");
  EXPECT_TRUE(got.people.at("carol").active);

  // Neither the system's groups nor the private ones; the primary group has its people.
  ASSERT_EQ(got.groups.size(), 3u);
  EXPECT_THAT(got.groups.at("staff").members, ElementsAre("alice", "bob", "carol"));
  EXPECT_THAT(got.groups.at("project").members, ElementsAre("bob"));
  EXPECT_TRUE(got.groups.at("empty").members.empty());
  EXPECT_THAT(got.said(), HasSubstr("group project: 1 of its members are not in passwd: ldapuser"));
  EXPECT_THAT(got.said(), HasSubstr("group carol: is the private group"));
  EXPECT_EQ(got.warnings.size(), 2u);
  EXPECT_TRUE(got.kept.empty());
}

TEST(FilesSource, RangeIsAnOption) {
  const Gathered got =
      gather({.passwd = kPasswd, .group = kGroup}, {.id_min = 1001, .id_max = 1001});
  EXPECT_EQ(got.people.size(), 1u);
  EXPECT_TRUE(got.people.contains("bob"));
}

TEST(FilesSource, ShadowTellsWhoHasExpired) {
  const AccountTexts texts{.passwd = kPasswd,
                           .shadow =
                               "alice:$y$hash:19000:0:99999:7::19999:\n"
                               "bob:!$y$hash:19000:0:99999:7:::\n"
                               "carol:$y$hash:19000:0:99999:7::20001:\n",
                           .has_shadow = true};
  const Gathered got = gather(texts);
  EXPECT_FALSE(got.people.at("alice").active);
  EXPECT_TRUE(got.people.at("bob").active) << "a locked password alone is no locked account";
  EXPECT_TRUE(got.people.at("carol").active);
  const Gathered strict =
      gather(texts, {.nologin_is_inactive = true, .locked_password_is_inactive = true});
  EXPECT_FALSE(strict.people.at("bob").active);
  EXPECT_FALSE(strict.people.at("carol").active) << "nologin";
}

TEST(FilesSource, WhoHasNoShadowLineStaysAsTheyAre) {
  // A shadow file that lost its end must not let in again whom it locked.
  const Gathered got = gather(
      {.passwd = kPasswd, .shadow = "alice:$y$hash:19000:0:99999:7::19999:\n", .has_shadow = true});
  EXPECT_FALSE(got.people.at("alice").active);
  EXPECT_EQ(got.people.size(), 1u);
  EXPECT_THAT(got.kept.at("bob"), HasSubstr("shadow: has no line for them"));
  EXPECT_TRUE(got.kept.contains("carol"));
  EXPECT_EQ(got.kept.size(), 2u) << "daemon is nobody";
}

TEST(FilesSource, AShadowFileOfNobodyIsNoWholeFile) {
  for (const std::string_view shadow : {"", "root:*:19000:0:99999:7:::\n"}) {
    Gathered got;
    const auto read =
        read_accounts({.passwd = kPasswd, .group = kGroup, .shadow = shadow, .has_shadow = true},
                      {}, kToday, got.intake());
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, Code::kDataLoss);
    EXPECT_TRUE(got.people.empty() && got.kept.empty() && got.groups.empty());
  }
}

TEST(FilesSource, WhoIsKnownToBeInactiveIsSoWhateverElseCannotBeRead) {
  const Gathered got = gather({.passwd = "alice:x:1000:1000:Alice:/home/alice\n"
                                         "bob:x:1001:1001:Bob:/home/bob:/bin/sh\n"
                                         "carol:x:1002:1002:Carol:/home/carol:/usr/sbin/nologin\n"
                                         "dave:x:1003:1003:Dave:/home/dave:/bin/sh\n",
                               .group = "alice:x:1000:\n",
                               .shadow = "alice:$y$hash:19000:0:99999:7::19999:\n"
                                         "bob:!$y$hash:19000:0:99999:7::soon:\n",
                               .has_shadow = true},
                              {.nologin_is_inactive = true, .locked_password_is_inactive = true});
  EXPECT_EQ(got.people.size(), 3u);
  for (const auto& [key, person] : got.people) EXPECT_FALSE(person.active) << key;
  EXPECT_FALSE(got.people.at("alice").text(Text::kDisplayName)) << "of a line that is no line";
  EXPECT_EQ(got.people.at("bob").text(Text::kDisplayName), "Bob");
  EXPECT_TRUE(got.kept.contains("dave"));
  EXPECT_EQ(got.warnings.size(), 3u) << got.said();
  EXPECT_THAT(got.said(), Not(HasSubstr("hash")));
  EXPECT_THAT(got.kept_groups.at("alice"), HasSubstr("may be the private group"));
}

TEST(FilesSource, AnUnreadableShadowLineKeepsAndRepeatsNoHash) {
  const Gathered got = gather({.passwd = kPasswd,
                               .shadow = "alice:$y$secrethash:19000:0:99999:7::soon:\n",
                               .has_shadow = true});
  EXPECT_FALSE(got.people.contains("alice"));
  EXPECT_THAT(got.kept.at("alice"), HasSubstr("shadow line 1"));
  EXPECT_THAT(got.kept.at("alice"), Not(HasSubstr("secret")));
}

TEST(FilesSource, ALineThatCannotBeReadKeepsWhomItNames) {
  const Gathered got = gather({.passwd = "alice:x:1000:1000:Alice:/home/alice\n"
                                         "bob:x:many:1:Bob:/home/bob:/bin/sh\n"
                                         ":x:1002:1002::/:/bin/sh\n"
                                         "carol:x:1003:1003:a:b:/home/carol:/bin/sh\n"
                                         "dave:x:1004:1004::/home/\xff:/bin/sh\n",
                               .group = "staff:x:2000:alice,bob\nbroken:x:2001\n"});
  EXPECT_TRUE(got.people.empty());
  EXPECT_EQ(got.kept.size(), 5u);
  EXPECT_THAT(got.kept.at("alice"), HasSubstr("passwd line 1: has not seven fields"));
  EXPECT_THAT(got.kept.at("bob"), HasSubstr("an id that is no number"));
  // Who is kept stays in their groups.
  EXPECT_THAT(got.groups.at("staff").members, ElementsAre("alice", "bob"));
  EXPECT_THAT(got.kept.at(""), HasSubstr("passwd line 3: does not begin with a name"));
  EXPECT_THAT(got.kept_groups.at("broken"), HasSubstr("group line 2: cannot be read"));
}

TEST(FilesSource, ALineWithoutANameMayBeAnybodys) {
  const Gathered got = gather({.passwd = "\xff:x:1002:1002::/:/bin/sh\n"
                                         ":x:5:5::/:/bin/sh\n"
                                         "al ice:x:1003:1003::/:/bin/sh\n"
                                         "  bob:x:1004:1004::/:/bin/sh\n",
                               .group = "\xff:x:2000:bob\n:x:998:\ndomain users:x:2001:bob\n"});
  EXPECT_EQ(got.kept.size(), 2u) << "system accounts are nobody";
  EXPECT_THAT(got.kept.at(""), HasSubstr("passwd line 1: does not begin with a name"));
  EXPECT_THAT(got.kept.at("al ice"), HasSubstr("has a space or comma"));
  EXPECT_TRUE(got.people.contains("bob")) << "as nss_files reads it";
  EXPECT_TRUE(got.groups.empty());
  EXPECT_EQ(got.kept_groups.size(), 2u);
  EXPECT_THAT(got.kept_groups.at(""), HasSubstr("group line 1: cannot be read"));
  EXPECT_TRUE(got.kept_groups.contains("domain users"));
}

TEST(FilesSource, AGroupOfWhichOneLineCannotBeReadStays) {
  const Gathered got = gather({.passwd = kPasswd, .group = "big:x:2000:alice\nbig:x:20o0:bob\n"});
  EXPECT_TRUE(got.groups.empty());
  EXPECT_THAT(got.kept_groups.at("big"), HasSubstr("group line 2"));
}

TEST(FilesSource, TheFirstOfTwoLinesCounts) {
  const Gathered got = gather({.passwd = "alice:x:1000:1000:First:/home/alice:/bin/sh\n"
                                         "alice:x:1005:1005:Second:/home/alice:/bin/sh\n"
                                         "sys:x:5:5::/:/bin/sh\n"
                                         "sys:x:1006:5::/:/bin/sh\n"
                                         "+@netgroup::::::\n",
                               .group = "big:x:2000:alice\n"
                                        "big:x:2000:alice\n"
                                        "big:x:2001:alice\n"});
  EXPECT_EQ(got.people.at("alice").text(Text::kDisplayName), "First");
  EXPECT_EQ(got.people.size(), 1u);
  EXPECT_THAT(got.groups.at("big").members, ElementsAre("alice"));
  EXPECT_EQ(got.warnings.size(), 4u) << got.said();
}

TEST(FilesSource, WhatIsNoWholeFileIsAnError) {
  const struct {
    std::string passwd;
    std::string group;
    Code code;
  } cases[] = {
      {"alice:x:1000:1000:A:/home/alice:/bin/sh\nbob:x:10", "", Code::kDataLoss},
      {std::string("alice:x:1000:1000:A:/home/a\0lice:/bin/sh\n", 41), "", Code::kDataLoss},
      {"", "staff:x:2000:ali", Code::kDataLoss},
      {"", "staff:x:2000:" + std::string(kAccountLineBytesMax, 'a') + "\n", Code::kTooLarge},
  };
  for (const auto& a_case : cases) {
    Gathered gathered;
    const auto read = read_accounts({.passwd = a_case.passwd, .group = a_case.group}, {}, kToday,
                                    gathered.intake());
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, a_case.code) << read.error().message;
    EXPECT_TRUE(gathered.people.empty());
  }
}

TEST(FilesSource, ReadsFilesAndSaysWhichIsMissing) {
  char pattern[] = "/tmp/roster-files-XXXXXX";
  const std::filesystem::path directory = ::mkdtemp(pattern);
  std::ofstream(directory / "passwd") << kPasswd;
  const Clock clock = [] { return Timestamp(std::chrono::days(kToday)); };
  auto source = open_files({.passwd = directory / "passwd"}, clock);
  ASSERT_TRUE(source);
  Gathered got;
  ASSERT_TRUE((*source)->read(got.intake()));
  EXPECT_EQ(got.people.size(), 3u);
  EXPECT_TRUE(got.groups.empty());
  EXPECT_THAT((*source)->describe(), HasSubstr("files /tmp/"));

  source = open_files({.passwd = directory / "passwd", .group = directory / "group"}, clock);
  ASSERT_TRUE(source);
  Gathered none;
  const auto read = (*source)->read(none.intake());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::kNotFound);
  EXPECT_TRUE(none.people.empty());
  std::filesystem::remove_all(directory);
}

TEST(FilesSource, RefusesWhatMakesNoSense) {
  const Clock clock = [] { return Timestamp{}; };
  EXPECT_FALSE(open_files({}, clock));
  EXPECT_FALSE(open_files({.passwd = "/etc/passwd", .id_min = 0}, clock));
  EXPECT_FALSE(open_files({.passwd = "/etc/passwd", .id_min = 5, .id_max = 4}, clock));
  EXPECT_FALSE(open_files({.passwd = "/etc/passwd", .locked_password_is_inactive = true}, clock));
}

}  // namespace
}  // namespace roster::sync
