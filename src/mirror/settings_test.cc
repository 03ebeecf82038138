#include "mirror/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mirror/testing/guide.h"

namespace roster::mirror {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kGuideConf;

Settings read(std::string_view text, std::string_view token = "t-1") {
  auto settings = parse_settings(text, token);
  EXPECT_TRUE(settings) << settings.error().message;
  return settings ? std::move(*settings) : Settings();
}

std::string error_of(std::string_view text, std::string_view token = "t-1") {
  const auto settings = parse_settings(text, token);
  return settings ? "no error" : settings.error().message;
}

/// The guide's configuration with another setting in a section, or with a text replaced.
std::string with(std::string_view section, std::string_view line) {
  std::string text(kGuideConf);
  const std::string head = "[" + std::string(section) + "]\n";
  const std::size_t begin = text.find(head) + head.size();
  const std::string key = "\n" + std::string(line.substr(0, line.find(" ="))) + " =";
  const std::size_t there = text.find(key, begin - 1);
  if (there < text.find("\n[", begin)) text.erase(there + 1, text.find('\n', there + 1) - there);
  text.insert(begin, std::string(line) + "\n");
  return text;
}
std::string replaced(std::string_view from, std::string_view to) {
  std::string text(kGuideConf);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Settings, ReadsTheConfigurationOfTheGuide) {
  const Settings settings = read(kGuideConf);
  EXPECT_THAT(settings.maps, ElementsAre(Map::kPasswd, Map::kShadow, Map::kGroup, Map::kSshKey));
  EXPECT_EQ(settings.written, settings.maps);
  EXPECT_EQ(settings.server.base_url, "https://activate.example.org/api/organizations/lab/scim/v2");
  EXPECT_EQ(settings.users.endpoint, "Users");
  EXPECT_EQ(settings.users.parameters,
            "attributes=urn%3Acoreweave%3Aparams%3Ascim%3Aschemas%3Aextension%3Acoreweave%3A2.0%3A"
            "CoreWeaveUser");
  EXPECT_EQ(settings.groups.parameters, "excludeInactiveUsers=true");
  EXPECT_FALSE(settings.users.by_cursor);
  EXPECT_EQ(settings.token.expose(), "t-1");
  const std::string urn = "urn:coreweave:params:scim:schemas:extension:coreweave:2.0:CoreWeaveUser";
  EXPECT_THAT(settings.attributes.user_name, ElementsAre(urn, "sunkPosixUsername"));
  EXPECT_THAT(settings.attributes.uid, ElementsAre(urn, "sunkPosixUserId"));
  EXPECT_THAT(settings.attributes.gid, ElementsAre(urn, "sunkPosixGroupId"));
  EXPECT_THAT(settings.attributes.home, ElementsAre(urn, "sunkPreferredHomeDirectory"));
  EXPECT_THAT(settings.attributes.shell, ElementsAre(urn, "sunkLoginShell"));
  EXPECT_THAT(settings.attributes.ssh_keys, ElementsAre(urn, "sunkSshKeys"));
  EXPECT_THAT(settings.attributes.group_gid, ElementsAre("sunkPosixGroupId"));
  EXPECT_THAT(settings.attributes.group_name, ElementsAre("sunkPosixGroupName"));
  EXPECT_THAT(settings.attributes.member, ElementsAre("sunkPosixUsername"));
  EXPECT_EQ(settings.attributes.home_template, "/mnt/home/%u");
  EXPECT_EQ(settings.attributes.shadow[2], "99999");
  EXPECT_EQ(settings.attributes.shadow[0], "");
  EXPECT_EQ(settings.files_of(Map::kPasswd).of(Map::kPasswd), "/etc/nsscache/passwd.cache");
  EXPECT_EQ(settings.state_file, "/var/lib/nsscache/roster-mirror.json");
  EXPECT_EQ(settings.lock_file, "/var/run/nsscache");
  EXPECT_TRUE(settings.notes.empty());
}

TEST(Settings, OverridesDefaultsByMap) {
  Settings settings = read(with("group", "files_cache_filename_suffix = new"));
  EXPECT_EQ(settings.files_of(Map::kGroup).of(Map::kGroup), "/etc/nsscache/group.new");
  EXPECT_EQ(settings.files_of(Map::kPasswd).of(Map::kPasswd), "/etc/nsscache/passwd.cache");
  // What one kind of map does not use may differ.
  settings = read(with("group", "scim_users_parameters = other=1"));
  EXPECT_THAT(settings.users.parameters, HasSubstr("attributes="));
  settings = read(replaced("[DEFAULT]\n", "[DEFAULT]\nscim_auth_token = \"in file\"\n"), "");
  EXPECT_EQ(settings.token.expose(), "in file");
}

TEST(Settings, EncodesParametersAsNsscacheReadsThem) {
  const auto parameters = [](std::string_view text) {
    return read(with("group", "scim_groups_parameters = " + std::string(text))).groups.parameters;
  };
  EXPECT_EQ(parameters("?&a=1&b=2&a=3"), "a=3&b=2");
  EXPECT_EQ(parameters("filter=displayName eq \"users\" or displayName eq \"admin\""),
            "filter=displayName%20eq%20%22users%22%20or%20displayName%20eq%20%22admin%22");
  EXPECT_EQ(parameters("groups=a,b&x"), "groups=a%2Cb&x=");
  EXPECT_EQ(parameters("filter=a eq \"1+1\""), "filter=a%20eq%20%221%2B1%22");
  EXPECT_TRUE(read(with("group", "scim_groups_parameters = cursor")).groups.by_cursor);
  EXPECT_EQ(parameters("cursor&count=500"), "cursor=&count=500");
}

TEST(Settings, IdsOfPeopleAreWhereThePasswdMapHasThem) {
  const Settings settings =
      read(with("DEFAULT", "scim_path_gid = sunkPosixGroupId\nscim_path_uid = id"));
  EXPECT_EQ(settings.attributes.gid.size(), 2U);
  EXPECT_EQ(settings.attributes.uid.size(), 2U);
}

TEST(Settings, KnowsOurOwnKeys) {
  Settings settings = read(with("DEFAULT",
                                "roster_inactive = lock\nroster_sshkey_form = lines\n"
                                "roster_id_min = 5000\nroster_ca_file = /ca.pem\n"
                                "roster_state_file = /s"));
  EXPECT_EQ(settings.inactive, Inactive::kLock);
  EXPECT_EQ(settings.key_form, KeyForm::kLines);
  EXPECT_EQ(settings.id_min, 5000U);
  EXPECT_EQ(settings.ca_file, "/ca.pem");
  EXPECT_EQ(settings.state_file, "/s");
}

TEST(Settings, SaysWhatCannotBeHonoured) {
  EXPECT_THAT(error_of(kGuideConf, ""), HasSubstr("there is no token"));
  EXPECT_THAT(error_of(with("DEFAULT", "scim_verify_ssl = 0")), HasSubstr("roster_ca_file"));
  EXPECT_THAT(error_of(with("DEFAULT", "scim_colour = red")),
              HasSubstr("scim_colour: this option is not known here"));
  EXPECT_THAT(error_of(with("passwd", "files_colour = red")), HasSubstr("[passwd] files_colour"));
  EXPECT_THAT(error_of(replaced("source = scim", "source = ldap")),
              HasSubstr("only scim can be read"));
  EXPECT_THAT(error_of(replaced("cache = files", "cache = nssdb")),
              HasSubstr("only files can be written"));
  EXPECT_THAT(error_of(replaced("maps = passwd,", "maps = netgroup,passwd,")),
              HasSubstr("\"netgroup\" is none of"));
  EXPECT_THAT(error_of(with("sshkey", "scim_users_parameters = a=b")),
              HasSubstr("made of one reading"));
  EXPECT_THAT(error_of(with("group", "scim_base_url = https://other.example")),
              HasSubstr("made of one reading"));
  EXPECT_THAT(error_of(with("DEFAULT", "scim_timeout = soon")),
              HasSubstr("scim_timeout: \"soon\" is not a number"));
  EXPECT_THAT(error_of(with("DEFAULT", "roster_id_min = 5")), HasSubstr("the system's"));
  EXPECT_THAT(error_of(with("DEFAULT", "roster_id_min = 1000.5")), HasSubstr("a whole number"));
  EXPECT_THAT(error_of(with("DEFAULT", "roster_inactive = maybe")), HasSubstr("omit or lock"));
  EXPECT_THAT(error_of(with("passwd", "roster_inactive = lock")), HasSubstr("into [DEFAULT]"));
  EXPECT_THAT(error_of(with("passwd", "scim_default_shell = bash")),
              HasSubstr("scim_default_shell"));
  EXPECT_THAT(error_of(replaced("timestamp_dir", "time_stamps")), HasSubstr("timestamp_dir"));
}

// nsscache tries int(), then float(), on everything that it reads.
TEST(Settings, NumbersAreThoseOfPython) {
  const auto server = [](const std::string& line) { return read(with("DEFAULT", line)).server; };
  EXPECT_EQ(server("scim_timeout = 90").timeout, std::chrono::seconds(90));
  EXPECT_EQ(server("scim_timeout = \" 1_0 \"").timeout, std::chrono::seconds(10));
  EXPECT_EQ(server("scim_timeout = 2.5").timeout, std::chrono::milliseconds(2500));
  EXPECT_EQ(server("scim_timeout = 1e9").timeout, std::chrono::hours(1));
  EXPECT_EQ(server("scim_timeout = 0").timeout, scim_client::Server::kTimeMax)
      << "no limit, to libcurl";
  EXPECT_EQ(server("scim_retry_delay = 0.5").retry_delay, std::chrono::milliseconds(500));
  EXPECT_EQ(server("scim_retry_delay = +0").retry_delay, std::chrono::milliseconds(0));
  EXPECT_EQ(server("scim_retry_max = 4.0").tries, 4);
  EXPECT_EQ(server("scim_max_cursor_pages = 7.9").cursor_pages_max, 7) << "int(7.9)";
  const auto days = [](const std::string& value) {
    return read(with("shadow", "scim_shadow_default_inact = " + value)).attributes.shadow[4];
  };
  EXPECT_EQ(days("-1"), "-1");
  EXPECT_EQ(days("7"), "7");
  EXPECT_EQ(days("30.0"), "30");
  EXPECT_EQ(days("0"), "");
  EXPECT_EQ(days("-0.0"), "");
  EXPECT_EQ(days(""), "");

  for (const char* line :
       {"scim_timeout = -1", "scim_timeout = nan", "scim_timeout = 1 0",
        "scim_timeout =", "scim_timeout = 1__0", "scim_timeout = 0x10", "scim_retry_delay = -0.5",
        "scim_retry_max = 0", "scim_retry_max = 2.5", "scim_retry_max = -3",
        "scim_max_cursor_pages = 0.5", "scim_verify_ssl = 0e0", "scim_verify_ssl = -0"}) {
    const std::string key = std::string(line).substr(0, std::string(line).find(' '));
    EXPECT_THAT(error_of(with("DEFAULT", line)), HasSubstr(key + ": ")) << line;
  }
  for (const char* value : {"-2", "1.5", "soon", "1e10", "inf"}) {
    EXPECT_THAT(error_of(with("shadow", "scim_shadow_default_inact = " + std::string(value))),
                HasSubstr("[shadow] scim_shadow_default_inact: "))
        << value;
  }
}

TEST(Settings, NotesWhatHasNoEffect) {
  EXPECT_THAT(read(with("DEFAULT", "scim_verify_ssl = False")).notes,
              ElementsAre(HasSubstr("is verified")));
  EXPECT_THAT(read(with("DEFAULT", "ldap_uri = ldap://x")).notes,
              ElementsAre(HasSubstr("ldap_uri is of a source")));
  EXPECT_THAT(read(std::string(kGuideConf) + "[netgroup]\n").notes,
              ElementsAre(HasSubstr("[netgroup]")));
}

}  // namespace
}  // namespace roster::mirror
