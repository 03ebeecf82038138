#include "mirror/identity_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mirror/testing/saved.h"

namespace roster::mirror {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::saved;

constexpr const char* kSaved =
    "roster-mirror identities 1\n"
    "u\t1\t20001\talice\tid-1\n"
    "g\t2\t20001\tteam\tg%2F1\n"
    "u-\t4\t20002\tbob\t\n"
    "u\t5\t20002\tcarol\tc%C3%A4\n";

IdentityMemory parsed(const std::string& text) {
  auto memory = IdentityMemory::parse(text);
  CHECK(memory.has_value());
  return std::move(*memory);
}

std::string why(const Result<std::uint64_t>& claimed) {
  return claimed ? "good" : claimed.error().message;
}

TEST(IdentityMemoryTest, WhatItWritesItReads) {
  IdentityMemory memory = parsed(kSaved);
  EXPECT_EQ(saved(memory), kSaved);
  EXPECT_EQ(memory.size(), 4U);
  EXPECT_FALSE(memory.changed());
  EXPECT_TRUE(memory.knows(Kind::kGroup, 20001, "team", "g/1"));
  EXPECT_TRUE(memory.knows(Kind::kUser, 20002, "carol", "cä"));
  EXPECT_FALSE(memory.knows(Kind::kUser, 20002, "bob", ""));
  EXPECT_EQ(saved(IdentityMemory()), "roster-mirror identities 1\n");
}

TEST(IdentityMemoryTest, ClaimsAreGoodAsBeforeOrNew) {
  IdentityMemory memory = parsed(kSaved);
  EXPECT_EQ(memory.claim(Kind::kUser, {20001, "alice", "id-1"}), 1U);
  EXPECT_EQ(memory.claim(Kind::kGroup, {20001, "team", "g/1"}), 2U);
  EXPECT_EQ(memory.claim(Kind::kUser, {20002, "carol", "cä"}), 5U);
  EXPECT_FALSE(memory.changed());
  EXPECT_EQ(memory.claim(Kind::kUser, {20003, "dave", "a b"}), 6U);
  EXPECT_EQ(memory.claim(Kind::kUser, {20003, "dave", "a b"}), 6U);
  EXPECT_TRUE(memory.changed());
  EXPECT_THAT(saved(memory), EndsWith("u\t6\t20003\tdave\ta%20b\n"));
  EXPECT_EQ(saved(parsed(saved(memory))), saved(memory));
}

// Whoever comes in the order of the file is not looked up; the first one who does not is.
TEST(IdentityMemoryTest, TheOrderOfClaimsDecidesNothing) {
  const std::string text =
      "roster-mirror identities 1\n"
      "u\t1\t20001\talice\t1\nu-\t2\t20002\tbob\t2\nu\t3\t20002\tcarol\t3\nu\t4\t20004\tdave\t4\n";
  IdentityMemory memory = parsed(text);
  EXPECT_EQ(memory.claim(Kind::kUser, {20001, "alice", "1"}), 1U);
  EXPECT_THAT(why(memory.claim(Kind::kUser, {20002, "bob", "2"})),
              HasSubstr("uid 20002 belongs to carol"));
  EXPECT_EQ(memory.claim(Kind::kUser, {20002, "carol", "3"}), 3U);
  EXPECT_THAT(why(memory.claim(Kind::kUser, {20004, "alice", "4"})),
              HasSubstr("uid 20004 belongs to dave"));
  EXPECT_EQ(memory.claim(Kind::kUser, {20004, "dave", "4"}), 4U);
  EXPECT_EQ(memory.claim(Kind::kUser, {20001, "alice", "1"}), 1U);
  EXPECT_FALSE(memory.changed());
}

TEST(IdentityMemoryTest, NothingChangesHandsUnlessAccepted) {
  IdentityMemory memory = parsed(kSaved);
  EXPECT_THAT(why(memory.claim(Kind::kUser, {20001, "mallory", "m"})),
              HasSubstr("uid 20001 belongs to alice, not to mallory; if this is meant, accept it: "
                        "--accept-id mallory=20001"));
  EXPECT_THAT(why(memory.claim(Kind::kUser, {20009, "alice", "id-1"})),
              HasSubstr("alice has uid 20001, not 20009"));
  EXPECT_THAT(why(memory.claim(Kind::kUser, {20009, "mallory", "id-1"})),
              HasSubstr("the same resource was alice with uid 20001 before, and is mallory"));
  // What was given up is not free either.
  EXPECT_THAT(why(memory.claim(Kind::kUser, {20010, "bob", "b"})), HasSubstr("bob has uid 20002"));
  EXPECT_EQ(why(memory.claim(Kind::kGroup, {20009, "mallory", "id-1"})), "good");

  memory.accept("mallory", 20001);
  EXPECT_EQ(memory.claim(Kind::kUser, {20001, "mallory", "id-1"}), 7U);
  EXPECT_THAT(why(memory.claim(Kind::kUser, {20001, "alice", "id-1"})),
              HasSubstr("uid 20001 belongs to mallory"));
  EXPECT_TRUE(memory.unused().empty());
  EXPECT_THAT(saved(memory), HasSubstr("\nu-\t1\t20001\talice\tid-1\n"));
  EXPECT_EQ(saved(memory).size(), memory.file_bytes());
}

TEST(IdentityMemoryTest, AResourceMadeAnewKeepsTheIdentity) {
  IdentityMemory memory = parsed(kSaved);
  EXPECT_EQ(memory.claim(Kind::kUser, {20001, "alice", "another/id"}), 1U);
  EXPECT_TRUE(memory.changed());
  EXPECT_TRUE(memory.knows(Kind::kUser, 20001, "alice", "another/id"));
  EXPECT_EQ(saved(memory).size(), memory.file_bytes());
  // The old id is nobody's, the new one hers.
  EXPECT_EQ(why(memory.claim(Kind::kUser, {20011, "erin", "id-1"})), "good");
  EXPECT_THAT(why(memory.claim(Kind::kUser, {20012, "frank", "another/id"})),
              HasSubstr("the same resource was alice"));
  EXPECT_EQ(saved(parsed(saved(memory))), saved(memory));
}

TEST(IdentityMemoryTest, DamageIsNamedByItsLine) {
  const std::string first = "roster-mirror identities 1\n";
  struct Case {
    std::string text;
    std::string line;
  };
  for (const Case& each : {
           Case{"roster-mirror identities 2\n", "line 1 "},
           Case{"roster-mirror identities 1", "line 1 "},
           Case{first + "u\t1\t20001\talice\tid", "line 2 "},
           Case{first + "\n", "line 2 "},
           Case{first + "x\t1\t20001\talice\tid\n", "line 2 "},
           Case{first + "u+\t1\t20001\talice\tid\n", "line 2 "},
           Case{first + "u\t\t20001\talice\tid\n", "line 2 "},
           Case{first + "u\t1\t4294967296\talice\tid\n", "line 2 "},
           Case{first + "u\t1\t20001\talice\n", "line 2 "},
           Case{first + "u\t1\t20001\talice\tid%4\n", "line 2 "},
           Case{first + "u\t2\t20001\ta\tb\nu\t2\t20002\tc\td\n", "line 3 "},
       }) {
    const auto memory = IdentityMemory::parse(each.text);
    ASSERT_FALSE(memory) << each.text;
    EXPECT_EQ(memory.error().code, Code::kDataLoss);
    EXPECT_THAT(memory.error().message, HasSubstr(each.line));
  }
}

// Three million long ids make a file that is too large to be read: what is not remembered is not
// given out, and what is remembered stays readable.
TEST(IdentityMemoryTest, WhatIsSavedCanBeReadAgain) {
  constexpr std::size_t kBytes = 10'000;
  IdentityMemory memory({.entries = 1'000'000, .file_bytes = kBytes});
  std::uint32_t number = 20000;
  Result<std::uint64_t> claimed = 0;
  while (true) {
    ++number;
    claimed = memory.claim(Kind::kUser, {number, "u" + std::to_string(number),
                                         std::string(256, '/') + std::to_string(number)});
    if (!claimed) break;
  }
  EXPECT_EQ(claimed.error().code, Code::kTooLarge);
  EXPECT_EQ(memory.size(), 12U);
  EXPECT_LE(memory.file_bytes(), kBytes);
  EXPECT_EQ(saved(memory).size(), memory.file_bytes());
  EXPECT_TRUE(IdentityMemory::parse(saved(memory)));
  // Those who are known go on, also when their resource is made anew, but for a longer id.
  EXPECT_EQ(memory.claim(Kind::kUser, {20001, "u20001", "short"}), 1U);
  EXPECT_EQ(memory.claim(Kind::kUser, {20001, "u20001", std::string(5000, '/')}).error().code,
            Code::kTooLarge);
  EXPECT_TRUE(memory.knows(Kind::kUser, 20001, "u20001", "short"));
  EXPECT_EQ(saved(memory).size(), memory.file_bytes());
}

TEST(IdentityMemoryTest, SoManyAndNoMore) {
  IdentityMemory memory({.entries = 2});
  EXPECT_TRUE(memory.claim(Kind::kUser, {20001, "alice", "1"}));
  EXPECT_TRUE(memory.claim(Kind::kUser, {20002, "bob", "2"}));
  EXPECT_EQ(memory.claim(Kind::kUser, {20003, "carol", "3"}).error().code, Code::kTooLarge);
  EXPECT_TRUE(memory.claim(Kind::kUser, {20001, "alice", "1"}));
}

// A file that was put there by hand, with ids that are longer once they are written properly.
TEST(IdentityMemoryTest, IsNotWrittenWhenItCouldNotBeRead) {
  std::string text = "roster-mirror identities 1\n";
  text += "u\t1\t20001\talice\t" + std::string(100, '/') + "\n";
  const auto memory = IdentityMemory::parse(text, {.entries = 10, .file_bytes = text.size()});
  ASSERT_TRUE(memory);
  const auto written = memory->write([](std::string_view) -> Result<void> { return {}; });
  EXPECT_EQ(written.error().code, Code::kTooLarge);
}

}  // namespace
}  // namespace roster::mirror
