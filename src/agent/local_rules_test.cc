#include "agent/local_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"

namespace roster::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST(LocalRules, AccountsAreNamesAndIds) {
  const FileRules rules = parse_accounts(
      "root:x:0:0:root:/root:/bin/bash\n"
      "svc:x:12000:12000::/:/bin/false\n"
      "svc:x:12000:12000::/:/bin/false\n"
      "+nis::::::\n-gone:x:5:5:::\n#old:x:7:7:::\n:x:8:8:::\ncut:x\nbad:x:1x:1:::\nbig:x:"
      "4294967296:1:::\n"
      " \tpadded:x:14000:1:::\n  # no account:x:15000:\n"
      "last:x:13000:1:::");
  EXPECT_THAT(rules.names, ElementsAre("last", "padded", "root", "svc"));
  EXPECT_THAT(rules.ids, ElementsAre(0, 12000, 13000, 14000));
}

TEST(LocalRules, SubordinateRangesAreInclusiveAndBounded) {
  const FileRules rules = parse_sub_ids(
      "alice:100000:65536\n100:165536:1\nnone:5:0\nbad:x:5\nmax:4294967295:4294967295\n");
  EXPECT_THAT(rules.ranges, ElementsAre(Pair(100000, 165535), Pair(165536, 165536),
                                        Pair(4294967295U, 4294967295U)));
}

TEST(LocalRules, DenyFileTakesNamesUidsAndComments) {
  std::vector<std::string> problems;
  const auto entries =
      parse_deny("# header\n alice \n10001 # leaver\n\nBOB\r\n../x\nc d\nbob\r\n", problems);
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].text, "alice");
  EXPECT_EQ(entries[1].uid, 10001U);
  EXPECT_EQ(entries[2].text, "bob");
  EXPECT_EQ(problems.size(), 3U);
  EXPECT_THAT(problems[0], testing::HasSubstr("line 5"));
}

class Files : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "rules.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    sources_ = {.passwd = directory_ / "passwd",
                .group = directory_ / "group",
                .subuid = directory_ / "subuid",
                .subgid = directory_ / "subgid",
                .deny = directory_ / "deny"};
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void put(const std::filesystem::path& file, std::string_view text) {
    ASSERT_TRUE(write_file_atomic(file, text, 0644));
  }
  std::string get(const std::filesystem::path& file) { return *read_file(file, 1 << 20); }

  std::filesystem::path directory_;
  LocalSources sources_;
};

TEST_F(Files, ChangesAreNoticedAndSorted) {
  put(sources_.passwd, "root:x:0:0:::\n");
  put(sources_.group, "wheel:x:10:\n");
  put(sources_.subuid, "root:200000:10\n");
  LocalRulesReader reader(sources_);
  auto change = reader.refresh(false);
  EXPECT_TRUE(change.masks);
  EXPECT_TRUE(change.deny) << "that there is none was not known";
  change = reader.refresh(false);
  EXPECT_FALSE(change.masks || change.deny);
  nsscache::LocalRules rules = reader.rules();
  EXPECT_THAT(rules.masked_names, ElementsAre("root", "wheel"));
  EXPECT_THAT(rules.masked_ids, ElementsAre(0, 10));
  EXPECT_THAT(rules.masked_ranges, ElementsAre(Pair(200000, 200009)));
  EXPECT_THAT(rules.denied_names, IsEmpty());

  put(sources_.deny, "alice\n10001\n");
  change = reader.refresh(false);
  EXPECT_TRUE(change.deny);
  EXPECT_FALSE(change.masks);
  rules = reader.rules();
  EXPECT_THAT(rules.denied_names, ElementsAre("alice"));
  EXPECT_THAT(rules.denied_uids, ElementsAre(10001));

  std::filesystem::remove(sources_.deny);
  EXPECT_TRUE(reader.refresh(false).deny);
  EXPECT_THAT(reader.rules().denied_names, IsEmpty());

  put(sources_.passwd, "root:x:0:0:::\n# only a comment more\n");
  EXPECT_FALSE(reader.refresh(true).masks) << "nothing differs";
}

// Not knowing is not permission: who was denied or masked stays so.
TEST_F(Files, AFileThatCannotBeReadKeepsItsLastContent) {
  put(sources_.deny, "alice\n");
  LocalRulesReader reader(sources_);
  EXPECT_TRUE(reader.rules().denials_unknown);
  reader.refresh(false);
  EXPECT_FALSE(reader.known()) << "no passwd, no group";
  EXPECT_TRUE(reader.rules().masks_unknown);
  EXPECT_FALSE(reader.rules().denials_unknown);
  put(sources_.passwd, "root:x:0:0:::\n");
  put(sources_.group, "wheel:x:10:\n");
  EXPECT_TRUE(reader.refresh(false).masks);
  EXPECT_TRUE(reader.known());
  EXPECT_FALSE(reader.rules().masks_unknown);
  std::filesystem::remove(sources_.deny);
  std::filesystem::create_directory(sources_.deny);
  EXPECT_FALSE(reader.refresh(false).deny);
  EXPECT_THAT(reader.rules().denied_names, ElementsAre("alice"));
  EXPECT_EQ(reader.problems().size(), 1U);
  std::filesystem::remove(sources_.deny);
  put(sources_.deny, "bob\n");
  EXPECT_TRUE(reader.refresh(false).deny);
  EXPECT_THAT(reader.problems(), IsEmpty());
  EXPECT_THAT(reader.rules().denied_names, ElementsAre("bob"));
}

// Masks of accounts that a broken file no longer names would be lifted from everybody at once.
TEST_F(Files, AccountsThatAreAbsentOrEmptyStayMasked) {
  put(sources_.passwd, "root:x:0:0:::\n");
  put(sources_.group, "wheel:x:10:\n");
  LocalRulesReader reader(sources_);
  EXPECT_TRUE(reader.refresh(true).masks);
  for (const auto& file : {sources_.passwd, sources_.group}) {
    for (const char* broken : {"", "\n\n", "+::::::\n"}) {
      put(file, broken);
      EXPECT_FALSE(reader.refresh(false).masks) << broken;
      EXPECT_THAT(reader.problems(), ElementsAre(testing::HasSubstr(file.string())));
    }
    std::filesystem::remove(file);
    EXPECT_FALSE(reader.refresh(true).masks);
    EXPECT_THAT(reader.problems(), ElementsAre(testing::HasSubstr(file.string())));
    EXPECT_THAT(reader.rules().masked_names, ElementsAre("root", "wheel"));
    EXPECT_TRUE(reader.known());
    put(file, file == sources_.passwd ? "root:x:0:0:::\n" : "wheel:x:10:\n");
    EXPECT_FALSE(reader.refresh(false).masks);
    EXPECT_THAT(reader.problems(), IsEmpty());
  }
}

TEST_F(Files, EditsKeepCommentsAndAreIdempotent) {
  put(sources_.deny, "# kept\nbob # stays\n");
  EXPECT_EQ(edit_deny_file(sources_.deny, "alice", true), true);
  EXPECT_EQ(edit_deny_file(sources_.deny, "alice", true), false);
  EXPECT_EQ(edit_deny_file(sources_.deny, "10001", true), true);
  EXPECT_EQ(get(sources_.deny), "# kept\nbob # stays\nalice\n10001\n");
  EXPECT_EQ(edit_deny_file(sources_.deny, "bob", false), true);
  EXPECT_EQ(edit_deny_file(sources_.deny, "bob", false), false);
  EXPECT_EQ(get(sources_.deny), "# kept\nalice\n10001\n");
  struct stat info{};
  ASSERT_EQ(stat(sources_.deny.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644U);
  for (const char* bad : {"", "A", "a b", "../x", "a\nb", "-1", "a#b"}) {
    EXPECT_FALSE(edit_deny_file(sources_.deny, bad, true)) << bad;
  }
  EXPECT_EQ(edit_deny_file(directory_ / "new" / "deny", "alice", true), true);
  EXPECT_FALSE(edit_deny_file(directory_ / "missing" / "too" / "deny", "alice", true));
}

TEST_F(Files, ConcurrentEditsLoseNothing) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 25; ++i) {
        ASSERT_TRUE(edit_deny_file(sources_.deny, std::to_string(10000 + t * 100 + i), true));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::string> problems;
  EXPECT_EQ(parse_deny(get(sources_.deny), problems).size(), 100U);
}

}  // namespace
}  // namespace roster::agent
