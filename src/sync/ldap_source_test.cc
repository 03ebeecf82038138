#include "sync/ldap_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>

#include "base/encoding.h"
#include "http/testing/support.h"
#include "sync/testing/gathered.h"
#include "sync/testing/slapd.h"

namespace roster::sync {
namespace {

constexpr std::string_view kKey =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDl+q0X1a1/4hdDQhcFZash8ixRtAYmqExggJPRSmsTP";

using reconcile::Text;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using testing::Gathered;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kLimited;
using testing::kReader;
using ::testing::Not;
using testing::Slapd;
using ::testing::UnorderedElementsAre;

constexpr std::int64_t kToday = 20'000;

std::string person(const std::string& uid, int number, int gid, const std::string& more = "") {
  return "dn: uid=" + uid +
         ",ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\n"
         "objectClass: shadowAccount\nobjectClass: testAccount\nuid: " +
         uid + "\ncn: " + uid + " Example\nsn: Example\nuidNumber: " + std::to_string(number) +
         "\ngidNumber: " + std::to_string(gid) + "\nhomeDirectory: /home/" + uid + "\n" + more +
         "\n";
}

std::string posix_group(const std::string& cn, int gid, const std::string& more = "") {
  return "dn: cn=" + cn + ",ou=groups,dc=example,dc=org\nobjectClass: posixGroup\ncn: " + cn +
         "\ngidNumber: " + std::to_string(gid) + "\n" + more + "\n";
}

std::string bis_group(const std::string& cn, int gid, const std::string& members) {
  return "dn: cn=" + cn +
         ",ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\nobjectClass: posixGroup\ncn: " +
         cn + "\ngidNumber: " + std::to_string(gid) + "\n" + members + "\n";
}

std::string in_people(const std::string& uid) {
  return "uid=" + uid + ",ou=people,dc=example,dc=org";
}
std::string in_groups(const std::string& cn) { return "cn=" + cn + ",ou=groups,dc=example,dc=org"; }

class LdapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Slapd::is_installed()) GTEST_SKIP() << "slapd is not installed";
  }

  Surroundings surroundings(Pause pause = [](milliseconds) { return false; }) {
    return {.pause = std::move(pause),
            .clock = [] { return Timestamp(std::chrono::days(kToday)); },
            .random = system_random};
  }
  static LdapOptions options(const Slapd& slapd, const std::string& schema = "rfc2307") {
    LdapOptions made = *ldap_defaults(schema);
    made.server.url = slapd.ldap_url();
    made.server.start_tls = false;
    made.server.bind_dn = kReader;
    made.server.password_file = slapd.password_file();
    made.server.timeout = milliseconds(10'000);
    made.people_base = "ou=people,dc=example,dc=org";
    made.groups_base = "ou=groups,dc=example,dc=org";
    made.key = "uid";
    made.group_key = "cn";
    return made;
  }
  Result<void> read(const LdapOptions& with, Gathered& got) {
    auto source = open_ldap(with, surroundings());
    if (!source) return std::unexpected(source.error());
    return (*source)->read(got.intake());
  }
};

TEST_F(LdapTest, ReadsRfc2307) {
  const Slapd slapd(
      {.entries = person("alice", 10'000, 10'000,
                         "givenName: Alice\nmail: alice@example.org\nloginShell: /bin/zsh\n"
                         "sshPublicKey: " +
                             std::string(kKey) + " a\nsshPublicKey: nonsense\n") +
                  person("bob", 10'001, 20'000, "shadowExpire: 19999\n") +
                  person("carol", 10'002, 20'000, "shadowExpire: -1\nuid: carol.smith\n") +
                  person("dave", 10'003, 10'003, "shadowExpire: 20001\n") +
                  posix_group("alice", 10'000) +
                  posix_group("staff", 20'000, "memberUid: alice\nmemberUid: ghost\n") +
                  posix_group("lab", 20'001, "memberUid: carol\nmemberUid: alice\n")});
  LdapOptions with = options(slapd);
  with.key = with.group_key = "entryUUID";
  with.ssh_keys = "sshPublicKey";
  Gathered got;
  const auto done = read(with, got);
  ASSERT_TRUE(done) << done.error().message;
  ASSERT_EQ(got.people.size(), 4u);
  std::map<std::string, reconcile::Person> by_name;
  for (const auto& [key, one] : got.people) {
    EXPECT_EQ(key.size(), 36u) << "an entryUUID";
    by_name[one.user_name] = one;
  }
  const auto& alice = by_name.at("alice");
  EXPECT_EQ(alice.text(Text::kDisplayName), "alice Example");
  EXPECT_EQ(alice.text(Text::kGivenName), "Alice");
  EXPECT_EQ(alice.text(Text::kFamilyName), "Example");
  EXPECT_EQ(alice.text(Text::kEmail), "alice@example.org");
  EXPECT_EQ(alice.text(Text::kHome), "/home/alice");
  EXPECT_EQ(alice.text(Text::kShell), "/bin/zsh");
  EXPECT_THAT(*alice.ssh_keys, ElementsAre(std::string(kKey) + " a"));
  EXPECT_EQ(by_name.at("bob").text(Text::kEmail), "");
  EXPECT_THAT(*by_name.at("bob").ssh_keys, IsEmpty());
  EXPECT_FALSE(by_name.at("bob").active);
  EXPECT_TRUE(by_name.at("carol").active);
  EXPECT_TRUE(by_name.at("dave").active);

  std::map<std::string, std::vector<std::string>> members;
  for (const auto& [key, group] : got.groups) {
    for (const auto& member : group.members) {
      members[group.name].push_back(got.people.at(member).user_name);
    }
  }
  EXPECT_EQ(got.groups.size(), 2u) << "alice's private group is none";
  EXPECT_THAT(members["staff"], UnorderedElementsAre("alice", "bob", "carol"));
  EXPECT_THAT(members["lab"], UnorderedElementsAre("alice", "carol"));
  EXPECT_THAT(got.said(), HasSubstr("group staff: 1 of its members are neither"));
  EXPECT_THAT(got.said(), HasSubstr("person alice: SSH key 2 of 2 is left out"));
}

TEST_F(LdapTest, ReadsRfc2307bisWithNestedGroups) {
  const Slapd slapd({.bis = true,
                     .entries = person("alice", 10'000, 1) + person("bob", 10'001, 1) +
                                bis_group("inner", 1'001, "member: " + in_people("alice") + "\n") +
                                // A cycle, other case and spaces, and somebody from elsewhere.
                                bis_group("outer", 1'002,
                                          "member: CN=Inner, OU=groups, DC=example,DC=org\n"
                                          "member: " +
                                              in_people("bob") +
                                              "\n"
                                              "member: cn=elsewhere,dc=example,dc=org\n") +
                                bis_group("inner2", 1'003,
                                          "member: " + in_groups("outer") +
                                              "\n"
                                              "member: " +
                                              in_groups("inner2") + "\n") +
                                "dn: cn=unique,ou=groups,dc=example,dc=org\n"
                                "objectClass: groupOfUniqueNames\nobjectClass: posixGroup\n"
                                "cn: unique\ngidNumber: 1004\n"
                                "uniqueMember: " +
                                in_people("bob") + "#'01'B\n\n"});
  Gathered got;
  const auto done = read(options(slapd, "rfc2307bis"), got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_THAT(got.groups.at("inner").members, UnorderedElementsAre("alice"));
  EXPECT_THAT(got.groups.at("outer").members, UnorderedElementsAre("alice", "bob"));
  EXPECT_THAT(got.groups.at("inner2").members, UnorderedElementsAre("alice", "bob"));
  EXPECT_THAT(got.groups.at("unique").members, UnorderedElementsAre("bob"));
  EXPECT_THAT(got.said(), HasSubstr("group outer: 1 of its members are neither"));
  EXPECT_FALSE(got.people.at("alice").text(Text::kShell)) << "nobody has a shell: it is not told";
  EXPECT_THAT(got.said(), HasSubstr("attribute loginShell: nobody has it"));
  EXPECT_FALSE(got.people.at("alice").ssh_keys);
}

TEST_F(LdapTest, TheOtherSchemaIsNotADirectoryWithoutMembers) {
  const Slapd slapd({.bis = true,
                     .entries = person("alice", 10'000, 1) +
                                bis_group("dev", 1'001, "member: " + in_people("alice") + "\n")});
  Gathered got;
  const auto done = read(options(slapd, "rfc2307"), got);
  ASSERT_FALSE(done) << "everybody would have left every group";
  EXPECT_THAT(done.error().message, HasSubstr("is it the other schema"));
}

class BigLdapTest : public LdapTest {
 protected:
  static std::string many() {
    std::string entries;
    for (int n = 0; n < 1'203; ++n) entries += person("u" + std::to_string(n), 10'000 + n, 500);
    return entries + posix_group("all", 500, "memberUid: u7\n");
  }
};

TEST_F(BigLdapTest, PagesThroughAServersLimit) {
  const Slapd slapd({.entries = many()});
  LdapOptions with = options(slapd);
  with.server.page_size = 100;
  Gathered got;
  const auto done = read(with, got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(got.people.size(), 1'203u);
  EXPECT_EQ(got.groups.at("all").members.size(), 1'203u);

  // A client that the server allows a part only.
  Gathered refused;
  with.server.bind_dn = kLimited;
  const auto partial = read(with, refused);
  ASSERT_FALSE(partial) << "500 of 1203 people are no list";
  EXPECT_EQ(partial.error().code, Code::kTooLarge) << partial.error().message;
  EXPECT_TRUE(refused.people.empty());
}

TEST_F(BigLdapTest, AServerThatDiesBetweenPagesIsAnError) {
  Slapd slapd({.entries = many()});
  LdapOptions with = options(slapd);
  with.server.page_size = 100;
  int asked = 0;
  auto source = open_ldap(with, surroundings([&asked, &slapd](milliseconds) {
                            if (++asked == 4) slapd.kill();
                            return false;
                          }));
  ASSERT_TRUE(source);
  Gathered got;
  const auto done = (*source)->read(got.intake());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnavailable) << done.error().message;
  EXPECT_TRUE(got.people.empty() && got.groups.empty());
  EXPECT_EQ(asked, 4);

  int stops = 0;
  auto stopped = open_ldap(with, surroundings([&stops](milliseconds) { return ++stops > 0; }));
  const auto ended = (*stopped)->read(got.intake());
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().message, "stopping");
}

TEST_F(LdapTest, TlsIsCheckedAgainstTheAuthority) {
  const http::testing::Authority authority("directory"), other("other");
  const auto right = authority.issue("IP:127.0.0.1");
  const Slapd slapd({.certificate_pem = right.chain_pem,
                     .key_pem = right.key_pem,
                     .entries = person("alice", 10'000, 1)});
  std::ofstream(slapd / "ca.pem") << authority.pem();
  std::ofstream(slapd / "other.pem") << other.pem();
  LdapOptions with = options(slapd);
  with.groups_base.clear();
  for (const std::string& url : {slapd.ldap_url(), slapd.ldaps_url()}) {
    with.server.url = url;
    with.server.start_tls = true;
    with.server.ca_file = slapd / "ca.pem";
    Gathered got;
    const auto done = read(with, got);
    EXPECT_TRUE(done) << url << ": " << done.error().message;
    EXPECT_EQ(got.people.size(), 1u);

    with.server.ca_file = slapd / "other.pem";
    const auto untrusted = read(with, got);
    ASSERT_FALSE(untrusted) << url;
    EXPECT_EQ(untrusted.error().code, Code::kUnavailable) << untrusted.error().message;
    with.server.ca_file.clear();
    EXPECT_FALSE(read(with, got)) << "the system's authorities did not sign it";
    with.server.ca_file = slapd / "absent.pem";
    const auto absent = read(with, got);
    ASSERT_FALSE(absent);
    EXPECT_EQ(absent.error().code, Code::kInvalidArgument) << absent.error().message;
  }
}

TEST_F(LdapTest, TlsIsCheckedAgainstTheName) {
  const http::testing::Authority authority("directory");
  const auto wrong = authority.issue("DNS:elsewhere.example.org");
  const Slapd slapd({.certificate_pem = wrong.chain_pem,
                     .key_pem = wrong.key_pem,
                     .entries = person("alice", 10'000, 1)});
  std::ofstream(slapd / "ca.pem") << authority.pem();
  LdapOptions with = options(slapd);
  with.server.start_tls = true;
  with.server.ca_file = slapd / "ca.pem";
  for (const std::string& url : {slapd.ldap_url(), slapd.ldaps_url()}) {
    with.server.url = url;
    Gathered got;
    EXPECT_FALSE(read(with, got)) << url;
  }
}

TEST_F(LdapTest, AServerWithoutTlsGetsNoPassword) {
  const Slapd slapd({.entries = person("alice", 10'000, 1)});
  LdapOptions with = options(slapd);
  with.server.start_tls = true;
  Gathered got;
  const auto done = read(with, got);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("STARTTLS"));
}

TEST_F(LdapTest, BindsAreRefusedPlainly) {
  const Slapd slapd({.entries = person("alice", 10'000, 1)});
  LdapOptions with = options(slapd);
  const auto file = slapd / "other-password";
  const auto with_password = [&](const std::string& text, mode_t mode) {
    std::ofstream(file) << text;
    ::chmod(file.c_str(), mode);
    with.server.password_file = file;
    Gathered got;
    const auto done = read(with, got);
    EXPECT_FALSE(done);
    EXPECT_THAT(done.error().message, Not(HasSubstr("wrong-secret")));
    return done.error().code;
  };
  EXPECT_EQ(with_password("wrong-secret\n", 0600), Code::kUnauthenticated);
  EXPECT_EQ(with_password("wrong-secret\n", 0644), Code::kPermissionDenied);
  EXPECT_EQ(with_password("", 0600), Code::kInvalidArgument) << "this would be an anonymous bind";

  // Nobody in particular may read nothing here: that is no empty directory.
  with.server.bind_dn = "";
  with.server.password_file.clear();
  Gathered nobody;
  const auto hidden = read(with, nobody);
  ASSERT_FALSE(hidden);
  with = options(slapd);
  with.people_base = "ou=absent,dc=example,dc=org";
  const auto absent = read(with, nobody);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kNotFound) << absent.error().message;
  with = options(slapd);
  with.people_filter = "(objectClass=";
  const auto no_filter = read(with, nobody);
  ASSERT_FALSE(no_filter);
  EXPECT_EQ(no_filter.error().code, Code::kInvalidArgument) << no_filter.error().message;
}

TEST_F(LdapTest, ExternalOverTheSocket) {
  const Slapd slapd({.entries = person("alice", 10'000, 1)});
  LdapOptions with = options(slapd);
  with.groups_base.clear();
  with.server.url = slapd.ldapi_url();
  with.server.bind_dn = "";
  with.server.password_file.clear();
  with.server.sasl_external = true;
  Gathered got;
  const auto done = read(with, got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(got.people.size(), 1u);
}

TEST_F(LdapTest, TellsWhoIsInactive) {
  const Slapd slapd(
      {.entries = person("plain", 10'000, 1) +
                  person("locked389", 10'001, 1, "nsAccountLock: TRUE\n") +
                  person("ad", 10'002, 1, "userAccountControl: 514\n") +
                  person("adok", 10'003, 1, "userAccountControl: 512\n") +
                  person("byhand", 10'004, 1, "pwdAccountLockedTime: 000001010000Z\n") +
                  person("guessed", 10'005, 1, "pwdAccountLockedTime: 20261121000000Z\n") +
                  person("retired", 10'006, 1, "employeeType: retired\n")});
  LdapOptions with = options(slapd);
  with.groups_base.clear();
  with.inactive = {"nsAccountLock", "userAccountControl", "pwdAccountLockedTime"};
  with.active_filter = "!(employeeType=retired)";
  Gathered got;
  const auto done = read(with, got);
  ASSERT_TRUE(done) << done.error().message;
  std::vector<std::string> active;
  for (const auto& [key, one] : got.people) {
    if (one.active) active.push_back(key);
  }
  EXPECT_THAT(active, ElementsAre("adok", "guessed", "plain"));
  with.active_filter = "(employeeType=nothing)";
  Gathered none;
  EXPECT_FALSE(read(with, none)) << "a filter that nobody matches would end everybody";
}

TEST_F(LdapTest, HiddenStatesAreNotTakenForNone) {
  const std::string entries = person("alice", 10'000, 1) +
                              person("bob", 10'001, 1, "shadowExpire: 1\nemployeeType: retired\n") +
                              person("carol", 10'002, 1) +
                              posix_group("dev", 9, "memberUid: bob\n");
  const Slapd open({.entries = entries});
  Gathered all;
  ASSERT_TRUE(read(options(open), all));
  EXPECT_FALSE(all.people.at("bob").active);
  EXPECT_EQ(all.hidden, "");
  LdapOptions with = options(open);
  with.inactive.push_back("nsAccountLock");
  Gathered one;
  ASSERT_TRUE(read(with, one));
  EXPECT_THAT(one.hidden, HasSubstr("attributes nsAccountLock: nobody has them"));

  const Slapd slapd({.entries = entries, .access = "access to attrs=shadowExpire by * none\n"});
  with = options(slapd);
  with.inactive.push_back("nsAccountLock");
  Gathered hidden;
  ASSERT_TRUE(read(with, hidden));
  EXPECT_TRUE(hidden.people.at("bob").active) << "nothing says otherwise";
  EXPECT_THAT(hidden.hidden, HasSubstr("attributes shadowExpire, nsAccountLock: nobody has them"));
  with.inactive.clear();
  Gathered none;
  ASSERT_TRUE(read(with, none));
  EXPECT_EQ(none.hidden, "") << "there are none, the settings say";

  // A filter that shows somebody is enough; one that everybody matches shows as little.
  with = options(slapd);
  with.active_filter = "!(employeeType=retired)";
  Gathered filtered;
  ASSERT_TRUE(read(with, filtered));
  EXPECT_FALSE(filtered.people.at("bob").active);
  EXPECT_EQ(filtered.hidden, "");
  with.active_filter = "objectClass=posixAccount";
  Gathered everybody;
  ASSERT_TRUE(read(with, everybody));
  EXPECT_THAT(everybody.hidden, HasSubstr("active_filter (objectClass=posixAccount): everybody"));
  with.active_filter = "!(shadowExpire=1)";
  Gathered nobody;
  EXPECT_FALSE(read(with, nobody)) << "what is hidden matches neither way";
}

TEST_F(LdapTest, AFilterThatHardlyAnybodyMatchesIsNotBelieved) {
  const Slapd slapd({.entries = person("alice", 10'000, 1, "employeeType: staff\n") +
                                person("bob", 10'001, 1) + person("carol", 10'002, 1) +
                                posix_group("dev", 9, "memberUid: bob\n")});
  LdapOptions with = options(slapd);
  with.active_filter = "employeeType=staff";
  Gathered refused;
  const auto done = read(with, refused);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("only 1 of 3 people match (employeeType=staff)"));
  with.active_percent_min = 33;
  Gathered meant;
  ASSERT_TRUE(read(with, meant));
  EXPECT_TRUE(meant.people.at("alice").active);
  EXPECT_FALSE(meant.people.at("bob").active);
  with.active_percent_min = 0;
  with.active_filter = "employeeType=stafff";
  Gathered nobody;
  EXPECT_FALSE(read(with, nobody)) << "everybody is never meant";
}

TEST_F(LdapTest, WhoIsKnownToBeInactiveIsSoWhateverElseCannotBeRead) {
  const std::string no_number = "shadowExpire: 99999999999999999999\n";
  const std::string nameless =
      "dn: cn=nameless,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\n"
      "objectClass: posixAccount\nobjectClass: testAccount\nuid:: AWI=\ncn: nameless\nsn: x\n"
      "uidNumber: 10004\ngidNumber: 1\nhomeDirectory: /home/nameless\n"
      "nsAccountLock: TRUE\nmail: x@example.org\n\n";
  const Slapd slapd(
      {.entries = person("both", 10'000, 1, no_number + "nsAccountLock: TRUE\n") +
                  person("unknown", 10'001, 1, no_number) +
                  person("retired", 10'002, 1, no_number + "employeeType: retired\n") +
                  person("active", 10'003, 1) + nameless +
                  posix_group("dev", 9, "memberUid: active\n")});
  LdapOptions with = options(slapd);
  with.key = "cn";
  with.inactive.push_back("nsAccountLock");
  with.active_filter = "!(employeeType=retired)";
  Gathered got;
  const auto done = read(with, got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(got.people.size(), 4u);
  EXPECT_FALSE(got.people.at("both Example").active);
  EXPECT_FALSE(got.people.at("retired Example").active);
  EXPECT_TRUE(got.people.at("active Example").active);
  const auto& locked = got.people.at("nameless");
  EXPECT_FALSE(locked.active);
  EXPECT_EQ(locked.user_name, "");
  EXPECT_FALSE(locked.text(Text::kEmail)) << "nothing but that they are locked";
  EXPECT_EQ(got.kept.size(), 1u);
  EXPECT_THAT(got.kept.at("unknown Example"), HasSubstr("shadowExpire cannot be read; they stay"));
  EXPECT_THAT(got.said(), HasSubstr("person both: shadowExpire cannot be read\n"));
}

TEST_F(LdapTest, AnEntryThatIsRenamedMeanwhileStaysActive) {
  const Slapd slapd({.entries = person("alice", 10'000, 1) +
                                person("bob", 10'001, 1, "employeeType: retired\n") +
                                posix_group("dev", 9, "memberUid: alice\n")});
  LdapOptions with = options(slapd);
  with.key = "entryUUID";
  with.active_filter = "!(employeeType=retired)";
  int asked = 0;
  auto source = open_ldap(with, surroundings([&asked, &slapd](milliseconds) {
                            if (++asked == 3) {  // after the list of people
                              slapd.modify("dn: " + in_people("alice") +
                                           "\nchangetype: modrdn\nnewrdn: cn=alice\n"
                                           "deleteoldrdn: 0\n");
                            }
                            return false;
                          }));
  ASSERT_TRUE(source);
  Gathered got;
  ASSERT_TRUE((*source)->read(got.intake()));
  EXPECT_GE(asked, 3);
  for (const auto& [key, one] : got.people) EXPECT_EQ(one.active, one.user_name == "alice");
}

TEST_F(LdapTest, GroupsThatNobodySeesAreNotTakenForNone) {
  const Slapd slapd(
      {.entries = person("alice", 10'000, 1) + posix_group("dev", 9, "memberUid: alice\n"),
       .access = "access to dn.children=\"ou=groups,dc=example,dc=org\" by * none\n"});
  LdapOptions with = options(slapd);
  Gathered got;
  const auto done = read(with, got);
  ASSERT_FALSE(done) << "every group would be emptied";
  EXPECT_THAT(done.error().message, HasSubstr("no group is found below ou=groups"));
  with.groups_base.clear();
  EXPECT_TRUE(read(with, got)) << "there are none, the settings say";
}

TEST_F(LdapTest, AUserNameOfSeveralIsNobodys) {
  // Mallory may write entries of one part of the directory, and takes the name of somebody else.
  const std::string mallory =
      "dn: cn=mallory,ou=groups,dc=example,dc=org\nobjectClass: inetOrgPerson\n"
      "objectClass: posixAccount\nuid: Alice\ncn: mallory\nsn: x\nuidNumber: 10666\n"
      "gidNumber: 1\nhomeDirectory: /home/mallory\n\n";
  const Slapd slapd(
      {.entries = mallory + person("alice", 10'000, 10'000) + person("bob", 10'001, 1) +
                  posix_group("admins", 9, "memberUid: alice\nmemberUid: bob\n") +
                  posix_group("alice", 10'000) + posix_group("staff", 8, "memberUid: bob\n")});
  LdapOptions with = options(slapd);
  with.people_base = "dc=example,dc=org";
  with.key = "uidNumber";
  Gathered got;
  const auto done = read(with, got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(got.people.size(), 3u);
  EXPECT_THAT(got.kept_groups.at("admins"),
              HasSubstr("group admins: lists alice, the user name of more than one person"));
  EXPECT_TRUE(got.kept_groups.contains("alice")) << "whose private group it is, is not known";
  EXPECT_EQ(got.groups.size(), 1u);
  EXPECT_THAT(got.groups.at("staff").members, ElementsAre("10001"));
  EXPECT_THAT(got.said(), HasSubstr("another entry has the same user name"));

  // Nor is it alice's when mallory's entry has no key.
  const Slapd keyless({.entries = mallory + person("alice", 10'000, 1, "employeeNumber: 1\n") +
                                  person("bob", 10'001, 1, "employeeNumber: 2\n") +
                                  posix_group("admins", 9, "memberUid: alice\n") +
                                  posix_group("staff", 8, "memberUid: bob\n")});
  with = options(keyless);
  with.people_base = "dc=example,dc=org";
  with.key = "employeeNumber";
  Gathered other;
  ASSERT_TRUE(read(with, other));
  EXPECT_TRUE(other.kept.contains(""));
  EXPECT_TRUE(other.kept_groups.contains("admins"));
  EXPECT_THAT(other.groups.at("staff").members, ElementsAre("2"));
}

TEST_F(LdapTest, GroupsThroughTooManyOthersStay) {
  std::string entries = person("alice", 10'000, 1) + person("bob", 10'001, 1) +
                        bis_group("g0", 100, "member: " + in_people("alice") + "\n");
  for (int n = 1; n < 70; ++n) {
    entries += bis_group("g" + std::to_string(n), 100 + n,
                         "member: " + in_groups("g" + std::to_string(n - 1)) + "\n");
  }
  entries += bis_group("flat", 99, "member: " + in_people("bob") + "\n");
  const Slapd slapd({.bis = true, .entries = entries});
  Gathered got;
  const auto done = read(options(slapd, "rfc2307bis"), got);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_THAT(got.groups.at("g64").members, ElementsAre("alice"));
  EXPECT_EQ(got.groups.size(), 66u);
  EXPECT_EQ(got.kept_groups.size(), 5u);
  EXPECT_THAT(got.kept_groups.at("g65"), HasSubstr("some are in it through too many other groups"));
  EXPECT_THAT(got.kept_groups.at("g69"), HasSubstr("it is not known who is in a group within it"));
}

TEST_F(LdapTest, KeysMayBeBinaryAndMustBeThere) {
  const Slapd slapd({.entries = person("alice", 10'000, 1,
                                       "objectGUID:: " + base64_encode("0123456789abcdef") + "\n") +
                                person("bob", 10'001, 1)});
  LdapOptions with = options(slapd);
  with.groups_base.clear();
  with.key = "objectGUID";
  Gathered got;
  ASSERT_TRUE(read(with, got));
  EXPECT_EQ(got.people.at("30313233343536373839616263646566").user_name, "alice");
  EXPECT_EQ(got.people.size(), 1u);
  EXPECT_THAT(got.kept.at(""), HasSubstr("has not one readable value of objectGUID"));
  with.key = "employeeNumber";
  Gathered none;
  const auto done = read(with, none);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kFailedPrecondition);
}

TEST_F(LdapTest, AServerThatSaysNothingIsGivenUp) {
  const int port = testing::free_port();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  const UniqueFd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listening.get(), 8), 0);
  LdapOptions with = *ldap_defaults("rfc2307");
  with.people_base = "dc=example";
  with.server.timeout = milliseconds(200);
  const std::string host = "127.0.0.1:" + std::to_string(port);
  for (const auto& [url, start_tls] :
       {std::pair{"ldap://" + host, false}, {"ldap://" + host, true}, {"ldaps://" + host, true}}) {
    with.server.url = url;
    with.server.start_tls = start_tls;
    Gathered got;
    const auto begin = std::chrono::steady_clock::now();
    const auto done = read(with, got);
    ASSERT_FALSE(done) << url;
    EXPECT_EQ(done.error().code, Code::kUnavailable) << done.error().message;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5)) << url;
  }
  with.server.url = "ldap://127.0.0.1:" + std::to_string(testing::free_port());
  with.server.start_tls = false;
  Gathered got;
  const auto closed = read(with, got);
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code, Code::kUnavailable);
}

TEST(LdapOptionsTest, WhatMakesNoSenseIsRefused) {
  const auto refused = [](const std::function<void(LdapOptions&)>& edit) {
    LdapOptions with = *ldap_defaults("rfc2307");
    with.server.url = "ldaps://ldap.example.org";
    with.people_base = "dc=example";
    edit(with);
    const auto source =
        open_ldap(with, {.pause = {}, .clock = system_now, .random = system_random});
    return !source && source.error().code == Code::kInvalidArgument;
  };
  EXPECT_FALSE(refused([](LdapOptions&) {}));
  EXPECT_FALSE(ldap_defaults("ad"));
  for (const std::string& url :
       std::vector<std::string>{"", "http://host", "ldaps://", "ldaps://host/dc=x",
                                "ldaps://a ldap://b", "ldap://a\nb"}) {
    EXPECT_TRUE(refused([&url](LdapOptions& o) { o.server.url = url; })) << url;
  }
  EXPECT_TRUE(refused([](LdapOptions& o) {
    o.server.url = "ldap://ldap.example.org";
    o.server.start_tls = false;
  })) << "a password in the clear";
  EXPECT_TRUE(refused([](LdapOptions& o) { o.server.sasl_external = true; }));
  EXPECT_TRUE(refused([](LdapOptions& o) { o.server.bind_dn = "cn=x"; }));
  EXPECT_TRUE(refused([](LdapOptions& o) { o.server.page_size = 0; }));
  EXPECT_TRUE(refused([](LdapOptions& o) { o.people_base = ""; }));
  EXPECT_TRUE(refused([](LdapOptions& o) { o.key = ""; }));
  EXPECT_TRUE(refused([](LdapOptions& o) { o.inactive = {"loginDisabled"}; }));
}

TEST(LdapNames, AreComparedInOneForm) {
  EXPECT_EQ(normal_dn("CN=Dev Team, OU=Groups,DC=Example"),
            normal_dn("cn=dev team,ou=groups,dc=example"));
  EXPECT_EQ(normal_dn("cn=a\\,b,dc=x"), normal_dn("cn=a\\2Cb,dc=x"));
  EXPECT_NE(normal_dn("cn=a,dc=x"), normal_dn("cn=b,dc=x"));
  EXPECT_EQ(normal_dn("NOT A DN"), "not a dn");
  EXPECT_EQ(rdn_value("uid=alice+cn=Alice A,dc=x", "CN"), "Alice A");
  EXPECT_EQ(rdn_value("uid=alice,dc=x", "cn"), "");
}

}  // namespace
}  // namespace roster::sync
