#include "sync/import_list.h"

#include <gmock/gmock.h>

#include "sync/csv.h"
#include "sync/ldif.h"

namespace roster::sync {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ImportList read(ImportFormat format, std::string_view text, const ImportOptions& options = {},
                std::string_view groups = "") {
  ImportList list;
  add_import_text(list, format, "F", text, false, options);
  if (!groups.empty()) add_import_text(list, format, "G", groups, true, options);
  EXPECT_TRUE(finish_import(list, options));
  return list;
}

/// "alice:1000:1000:alice" of each.
std::vector<std::string> shown(const ImportList& list) {
  std::vector<std::string> out;
  for (const Imported& e : list.entries) {
    out.push_back(e.name + ":" + std::to_string(e.number) + ":" + std::to_string(e.gid) + ":" +
                  e.user_name.value_or("-"));
  }
  return out;
}

TEST(ImportListTest, PasswdAndGroup) {
  const ImportList list = read(ImportFormat::kPasswd,
                               "root:x:0:0:root:/root:/bin/bash\n"
                               "# people\n"
                               "\n"
                               "alice:x:2001:2001:Alice A,Room 1,555:/home/alice:/bin/zsh\n"
                               "bob:x:2002:2500::/home/bob:/bin/bash\n"
                               "nobody:x:65534:65534::/:/bin/false\n"
                               "+@staff::::::\n",
                               {.user_name = "{login}@example.org"},
                               "alice:x:2001:\n"
                               "lab:x:2500:alice,bob\n"
                               "sudo:x:27:alice\n");
  EXPECT_THAT(shown(list), ElementsAre("lab:2500:2500:lab", "alice:2001:2001:alice@example.org",
                                       "bob:2002:2500:bob@example.org"));
  EXPECT_EQ(list.problem_count, 0U);
  EXPECT_EQ(list.outside, 3U);
  EXPECT_EQ(list.private_groups, 1U);
  EXPECT_EQ(list.memberships, 2U);
  EXPECT_EQ(list.others, 1U);
  EXPECT_EQ(list.entries[1].gecos, "Alice A");
  EXPECT_EQ(list.entries[1].shell, "/bin/zsh");
  EXPECT_EQ(list.place(list.entries[0].file, list.entries[0].line), "G:2");
  EXPECT_EQ(list.place(list.entries[1].file, list.entries[1].line), "F:4");
  EXPECT_THAT(shown(read(ImportFormat::kPasswd, "bob:x:2002:100:::\n", {.private_groups = true})),
              ElementsAre("bob:2002:2002:bob"));
}

// What cannot be read as it is meant must not be imported as something else.
TEST(ImportListTest, HostileTextIsAProblemWithItsLine) {
  const std::string ok = "ok:x:2000:2000:::\n";
  const struct {
    ImportFormat format;
    std::string text;
    std::size_t line;
    const char* sentence;
  } kCases[] = {
      {ImportFormat::kPasswd, ok + "eve:x:2001:2001:::/bin/sh", 2, "ends inside a line"},
      {ImportFormat::kPasswd, ok + std::string("e\0e", 3) + ":x:2001:2001:::\n", 2, "NUL"},
      {ImportFormat::kPasswd, ok + "eve:x:2001:2001::\n", 2, "seven fields"},
      {ImportFormat::kPasswd, ok + "eve:x:2001:2001:a:b:c:d\n", 2, "seven fields"},
      {ImportFormat::kPasswd, ok + "eve:x:-1:2001:::\n", 2, "not a number"},
      {ImportFormat::kPasswd, ok + "eve:x:+2001:2001:::\n", 2, "not a number"},
      {ImportFormat::kPasswd, ok + "eve:x:4294967296:2001:::\n", 2, "not a number"},
      {ImportFormat::kPasswd, ok + "eve:x:2001:0x1:::\n", 2, "primary group"},
      {ImportFormat::kPasswd, ok + "eve:x::2001:::\n", 2, "not a number"},
      {ImportFormat::kPasswd, ok + ":x:2001:2001:::\n", 2, "name is empty"},
      {ImportFormat::kPasswd, ok + "e\x1bve:x:2001:2001:::\n", 2, "control characters"},
      {ImportFormat::kPasswd, ok + "eve:x:2001:2001::/home/\xff:\n", 2, "UTF-8"},
      {ImportFormat::kPasswd, ok + "eve:x:2001:2001::/" + std::string(2000, 'x') + ":\n", 2,
       "1024 bytes"},
      {ImportFormat::kPasswd, std::string(kImportLineBytesMax + 1, 'x') + "\n", 1, "too long"},
      {ImportFormat::kCsv, "", 1, "no header"},
      {ImportFormat::kCsv, "login,gid\n", 1, "no column uid"},
      {ImportFormat::kCsv, "foo\n", 1, "no column name"},
      {ImportFormat::kCsv, "login,uid,password\n", 1, "'password' is not known"},
      {ImportFormat::kCsv, "login,uid,uid\n", 1, "twice"},
      {ImportFormat::kCsv, "login,uid\neve\n", 2, "1 fields"},
      {ImportFormat::kCsv, "login,uid\n\neve,2000,x\n", 3, "3 fields"},
      {ImportFormat::kCsv, "login,uid\n\"e\nve\",2000\n", 2, "control characters"},
      {ImportFormat::kCsv, "login,uid,state\neve,2000,gone\n", 2, "state"},
      {ImportFormat::kCsv, "login,uid\neve,2000\n\"x,1\n", 0, "line 3: a quote that does not end"},
      {ImportFormat::kLdif, "dn: x\nchangetype: delete\n", 0, "line 2: a change"},
      {ImportFormat::kLdif, "dn: x\njpegPhoto:< file:///etc/shadow\n", 0, "line 2: a value by URL"},
      {ImportFormat::kLdif,
       "dn: uid=e\nobjectClass: posixAccount\nuid: e\nuidNumber: x\ngidNumber: 1\n", 1,
       "not a number"},
  };
  for (const auto& c : kCases) {
    const ImportList list = read(c.format, c.text);
    ASSERT_EQ(list.problems.size(), 1U) << c.sentence;
    EXPECT_EQ(list.problems[0].line, c.line) << c.sentence;
    EXPECT_THAT(list.problems[0].sentence, HasSubstr(c.sentence));
  }
  std::string many;
  for (int i = 0; i < 2000; ++i) many += "broken\n";
  const ImportList list = read(ImportFormat::kPasswd, many);
  EXPECT_EQ(list.problems.size(), kImportProblemsMax);
  EXPECT_EQ(list.problem_count, 2000U);
}

TEST(ImportListTest, Ldif) {
  const std::string text =
      "version: 1\n"
      "# a comment\n  that goes on\n"
      "dn: ou=people,dc=example\nobjectClass: organizationalUnit\nou: people\n"
      "\n"
      "dn: uid=alice,ou=people,dc=example\r\nobjectClass: top\r\nobjectclass: POSIXACCOUNT\r\n"
      "uid: alice\r\nuidNumber: 2001\r\ngidNumber: 2500\r\ncn;lang-de: Alice B\r\n"
      "cn: Alice\r\ngecos:: QWxpY2Ugw4QsUm9vbQ==\r\nhomeDirectory: /home/al\r\n ice\r\n"
      "loginShell: /bin/sh\r\nmail: alice@example.org\r\n"
      "\n\n"
      "dn: cn=lab,ou=groups,dc=example\nobjectClass: posixGroup\ncn: lab\ngidNumber: 2500\n"
      "memberUid: alice\nmemberUid: bob\n";
  const ImportList list = read(ImportFormat::kLdif, text, {.user_name = "{mail}"});
  EXPECT_THAT(shown(list), ElementsAre("lab:2500:2500:lab", "alice:2001:2500:alice@example.org"));
  EXPECT_EQ(list.problem_count, 0U);
  EXPECT_EQ(list.others, 1U);
  EXPECT_EQ(list.memberships, 2U);
  EXPECT_EQ(list.entries[1].gecos, "Alice Ä");
  EXPECT_EQ(list.entries[1].home, "/home/alice");
  EXPECT_EQ(list.entries[1].line, 8U);
  const ImportList without = read(ImportFormat::kLdif,
                                  "dn: x\nobjectClass: posixAccount\nuid: b\nuidNumber: 2000\n"
                                  "gidNumber: 2000\n",
                                  {.user_name = "{mail}"});
  ASSERT_EQ(without.problems.size(), 1U);
  EXPECT_THAT(without.problems[0].sentence, HasSubstr("no mail"));
}

TEST(LdifTest, RefusesWhatIsNone) {
  for (const char* text : {"uid: x\n", "dn: x\nnonsense\n", "dn: x\n: y\n", "dn: x\nuid:: %%\n",
                           "version: 2\ndn: x\n", " dn: x\n", "dn: x\n\n continued: x\n"}) {
    EXPECT_FALSE(parse_ldif(text)) << text;
  }
  EXPECT_EQ(parse_ldif("")->size(), 0U);
  EXPECT_FALSE(parse_ldif("dn: x\nuidNumber: 180")) << "cut: it was 18005";
}

TEST(LdifTest, TheDnDecidesAmongSeveralNames) {
  const auto records = parse_ldif(
      "dn: uid=bob,ou=people\nuid: bob.smith\nuid: bob\ncn;lang-fr: Robert\ncn: Bob\n\n"
      "dn: cn=Bob,ou=people\nuid: bob.smith\nuid: bob\n");
  ASSERT_TRUE(records);
  EXPECT_EQ(records->at(0).deciding("uid"), "bob");
  EXPECT_EQ(records->at(0).first("cn"), "Bob");
  EXPECT_EQ(records->at(1).deciding("uid"), "");
  const ImportList list = read(ImportFormat::kLdif,
                               "dn: cn=Bob,ou=people\nobjectClass: posixAccount\nuid: b\nuid: c\n"
                               "uidNumber: 2000\ngidNumber: 2000\n");
  EXPECT_EQ(list.problem_count, 1U);
}

TEST(LdifTest, LinesComeBack) {
  for (const std::string& value : {std::string("alice"), std::string(" x"), std::string(":x"),
                                   std::string("<x"), std::string("x "), std::string("Ä"),
                                   std::string(300, 'y'), std::string(200, '\n'), std::string()}) {
    const std::string text = "dn: x\n" + ldif_line("cn", value);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find('\n', at);
      EXPECT_LE(end - at, 76U);
      at = end + 1;
    }
    const auto records = parse_ldif(text);
    ASSERT_TRUE(records) << records.error().message;
    EXPECT_EQ(records->at(0).first("cn"), value);
  }
}

TEST(ImportListTest, Csv) {
  const ImportList list =
      read(ImportFormat::kCsv,
           "\xEF\xBB\xBFlogin,uid,gid,userName,externalId,gecos,home,shell,client,state\r\n"
           "alice,2001,2500,a@x,E-1,\"Alice, \"\"A\"\"\",/home/alice,/bin/sh,okta,active\r\n"
           "bob,2002,,,,,,,,\r\n"
           "gone,2003,,g@x,E-3,,/home/gone,,okta,deleted\r\n",
           {}, "name,gid,displayName\nlab,2500,Laboratory\n");
  EXPECT_THAT(shown(list), ElementsAre("lab:2500:2500:Laboratory", "alice:2001:2500:a@x",
                                       "bob:2002:2002:", "gone:2003:2003:"));
  EXPECT_EQ(list.problem_count, 0U);
  EXPECT_EQ(list.entries[1].external_id, "E-1");
  EXPECT_EQ(list.entries[1].client, "okta");
  EXPECT_EQ(list.entries[1].gecos, "Alice \"A\"");
  EXPECT_EQ(list.entries[3].external_id, "") << "the deleted wait for nobody";
  const ImportList other = read(ImportFormat::kCsv, "login,uid,externalId\nx,2000,E\n",
                                {.match_user_name = false, .client = "okta"});
  EXPECT_EQ(other.entries[0].user_name, "");
  EXPECT_EQ(other.entries[0].client, "okta");
  EXPECT_THAT(shown(read(ImportFormat::kCsv, "login,uid\nx,2000\n", {.user_name = "{uid}@x"})),
              ElementsAre("x:2000:2000:2000@x"));
  ImportList none;
  EXPECT_FALSE(finish_import(none, {.user_name = "all"}));
}

TEST(CsvTest, Rfc4180) {
  const auto rows = parse_csv("a,\"b\"\"c\",\"d\r\ne\"\r\n\r\n,,\nlast,\"\",x\r\n");
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 3U);
  EXPECT_THAT(rows->at(0).fields, ElementsAre("a", "b\"c", "d\r\ne"));
  EXPECT_THAT(rows->at(1).fields, ElementsAre("", "", ""));
  EXPECT_EQ(rows->at(1).line, 4U);
  EXPECT_THAT(rows->at(2).fields, ElementsAre("last", "", "x"));
  EXPECT_FALSE(parse_csv("login,uid\nbob,1700")) << "cut: it was 17005";
  for (const char* text : {"a\"b\n", "\"a\"b\n", "\"a\n", "\""}) EXPECT_FALSE(parse_csv(text));
  EXPECT_FALSE(parse_csv(std::string(200, ',') + "\n"));
  for (const std::string& value : std::vector<std::string>{"", "a", "a,b", "\"", "a\nb", "\r"}) {
    EXPECT_THAT(parse_csv("x," + csv_field(value) + "\n")->at(0).fields, ElementsAre("x", value));
  }
}

TEST(ImportListTest, ClashesWithinOneList) {
  const ImportList list = read(ImportFormat::kCsv,
                               "login,uid,userName,externalId,home\n"
                               "a,2000,X@y,E,/home/a\n"
                               "a,2001,b,,/home/b/\n"
                               "c,2000,c,,/home/c\n"
                               "d,2003,x@Y,,/home/a/d\n"
                               "e,2004,e,E,/home/b\n");
  std::vector<std::string> found;
  for (const ListClash& clash : clashes_within(list)) {
    found.push_back(std::to_string(clash.entry) + std::string(clash.what) +
                    std::to_string(clash.owner));
  }
  EXPECT_THAT(found, ElementsAre("1name0", "2id0", "3home0", "3match0", "4home1", "4match0"));
}

}  // namespace
}  // namespace roster::sync
