#include "posix/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/unicode.h"

namespace roster::posix {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(LoginNameTest, AcceptsTheRuleAndNothingElse) {
  for (const std::string& good :
       {std::string("a"), std::string("_"), std::string("alice"), std::string("_apt"),
        std::string("a.b-c_d9"), std::string("a."), std::string("a-"), std::string(32, 'x')}) {
    const auto name = LoginName::parse(good);
    ASSERT_TRUE(name) << good;
    EXPECT_EQ(name->str(), good);
    EXPECT_TRUE(GroupName::parse(good));
  }
}

// What an attacker would like to see in /etc/passwd, in a shell or in a path.
const std::string kHostile[] = {
    "",
    "root:x:0:0",
    "a:b",
    "a\nroot:x:0:0::/root:/bin/sh",
    "a\n",
    "\na",
    std::string("a\0b", 3),
    std::string("\0", 1),
    "../etc",
    "..",
    ".",
    ".a",
    "-rf",
    "-",
    "--help",
    "a b",
    "a\tb",
    "a/b",
    "a\\b",
    "a,b",
    "a$",
    "a;reboot",
    "$(reboot)",
    "`reboot`",
    "a'b",
    "a\"b",
    "a*",
    "~a",
    "%u",
    "+",
    "+a",
    "@netgroup",
    "0",
    "0day",
    "1000",
    "4294967295",
    "ALICE",
    "Alice",
    "aLICE",
    "alice@example.org",
    "josé",
    "jose\xCC\x81",
    "аlice",  // Cyrillic а
    "😀",
    "\xE2\x80\xAE"
    "abc",            // right-to-left override
    "a\xE2\x80\x8B",  // zero width space
    "\xff\xfe",
    "a\x1b[31m",
    "a\x7f",
    std::string(33, 'x'),
    std::string(1 << 20, 'a'),
};

TEST(LoginNameTest, RefusesHostileNamesWithoutRepeatingThem) {
  for (const std::string& text : kHostile) {
    const auto login = LoginName::parse(text);
    ASSERT_FALSE(login) << text.substr(0, 60);
    EXPECT_EQ(login.error().code, Code::kInvalidArgument);
    EXPECT_LT(login.error().message.size(), 120U);
    EXPECT_FALSE(has_control_characters(login.error().message));
    EXPECT_FALSE(GroupName::parse(text)) << text.substr(0, 60);
  }
}

TEST(LoginNameTest, SaysWhatIsWrong) {
  EXPECT_THAT(LoginName::parse("").error().message, HasSubstr("not a login name: it is empty"));
  EXPECT_THAT(LoginName::parse(std::string(33, 'x')).error().message,
              HasSubstr("it has 33 bytes, more than 32"));
  EXPECT_THAT(LoginName::parse("9a").error().message, HasSubstr("does not begin with"));
  EXPECT_THAT(GroupName::parse("ab:c").error().message, HasSubstr("group name: byte 3 is none of"));
}

struct ProposalCase {
  std::string text;
  std::string_view name;
};

TEST(ProposeNameTest, Rule) {
  const ProposalCase cases[] = {
      {"alice", "alice"},
      {"Alice", "alice"},
      {"ALICE.SMITH", "alice.smith"},
      {"alice@example.org", "alice"},
      {"Alice.Smith@Example.ORG", "alice.smith"},
      {"alice+test@example.org", "alicetest"},
      {"a@b@c", "abc"},  // not an address
      {"@example.org", ""},
      {"alice@", "alice"},
      {"José Núñez", "josenunez"},
      {"jose\xCC\x81", "jose"},  // already decomposed
      {"Straße", "strasse"},
      {"ﬁona", "fiona"},  // compatibility ligature
      {"ｂｏｂ", "bob"},  // full width
      {"Research Team", "researchteam"},
      {"GPU-Users_2", "gpu-users_2"},
      {"_svc", "_svc"},
      {"O'Brien", "obrien"},
      {"DOMAIN\\bob", "domainbob"},
      {"", ""},
      {"42", ""},
      {"0day", ""},
      {"-rf", ""},
      {"../../etc/passwd", ""},
      {".hidden", ""},
      {"李雷", ""},
      {"😀", ""},
      {"😀bob", "bob"},
      {"\xE2\x80\xAE"
       "drowssap",
       "drowssap"},
      {"аlice", "lice"},  // the Cyrillic letter goes, it is not taken for a Latin one
      {"a:b\nc", "abc"},
      {"root:x:0:0", "rootx00"},
      {std::string("a\0b", 3), "ab"},
      {"\xff\xfe", ""},
      {"alice\xff", ""},
      {std::string(40, 'a'), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
      {std::string(40, 'a') + "@example.org", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
  };
  for (const ProposalCase& c : cases) EXPECT_EQ(propose_name(c.text), c.name) << c.text;
}

TEST(ProposeNameTest, GivesANameOrNothing) {
  for (const std::string& text : kHostile) {
    const std::string name = propose_name(text);
    if (!name.empty()) EXPECT_TRUE(LoginName::parse(name)) << name;
  }
}

// A 1 MB name costs one pass, not a quadratic one. Generous for sanitizers on a busy machine.
TEST(ProposeNameTest, LongTextIsCheap) {
  std::string text;
  while (text.size() < (1 << 20)) text += "e\xCC\x81";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(propose_name(text), std::string(32, 'e'));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(WithSuffixTest, StaysWithin32BytesAndUnique) {
  EXPECT_EQ(with_suffix("alice", 2), "alice2");
  EXPECT_EQ(with_suffix("alice", 10), "alice10");
  EXPECT_EQ(with_suffix(std::string(31, 'x'), 2), std::string(31, 'x') + "2");
  EXPECT_EQ(with_suffix(std::string(32, 'x'), 2), std::string(31, 'x') + "2");
  EXPECT_EQ(with_suffix(std::string(32, 'x'), 4294967295), std::string(22, 'x') + "4294967295");
  EXPECT_TRUE(LoginName::parse(with_suffix("_", 4294967295)));
}

TEST(WithSuffixDeathTest, NeedsABaseAndACount) {
  EXPECT_DEATH((void)with_suffix("", 2), "CHECK");
  EXPECT_DEATH((void)with_suffix("a", 1), "CHECK");
}

}  // namespace
}  // namespace roster::posix
