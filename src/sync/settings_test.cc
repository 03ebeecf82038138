#include "sync/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "base/ids.h"

namespace roster::sync {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Environment environment_of(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

class SettingsTest : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    const auto path = std::filesystem::path(::testing::TempDir()) / "sync-settings.toml";
    std::ofstream(path) << text;
    return path;
  }
  Result<std::unique_ptr<Source>> open() const {
    return settings.open_source({.pause = [](std::chrono::milliseconds) { return false; },
                                 .clock = [] { return Timestamp(); },
                                 .random = system_random});
  }
  Settings settings;
};

TEST_F(SettingsTest, TheVariablesOfPwActivateScimSyncAreEnough) {
  ASSERT_TRUE(settings.read_environment(environment_of({{"ACTIVATE_API_KEY", "pwt_aGk.secret"},
                                                        {"ACTIVATE_ORG_NAME", "acme"},
                                                        {"ACTIVATE_SYNC_GROUPS", "dev, ops,"},
                                                        {"CW_SCIM_ORG_USERID", "org-1"},
                                                        {"CW_SCIM_BEARER_TOKEN", "secret"}})));
  EXPECT_EQ(settings.source_kind, "activate");
  EXPECT_EQ(settings.activate.organization, "acme");
  EXPECT_EQ(settings.prefix, "pw-activate:");
  EXPECT_EQ(settings.destination.url, "https://api.coreweave.com/scim/org-1");
  EXPECT_EQ(settings.destination_token.expose(), "secret");
  EXPECT_TRUE(settings.replace_members);
  EXPECT_THAT(settings.groups, ElementsAre("dev", "ops"));
  EXPECT_TRUE(settings.open_destination({.pause = [](std::chrono::milliseconds) { return false; },
                                         .clock = system_now,
                                         .random = system_random}));
}

TEST_F(SettingsTest, WhatIsSetGoesBeforeTheEnvironment) {
  settings.source_kind = "files";
  settings.destination.url = "https://hub/scim";
  settings.prefix = "mine:";
  ASSERT_TRUE(settings.read_environment(environment_of({{"ACTIVATE_API_KEY", "pwt_aGk.secret"},
                                                        {"CW_SCIM_ORG_USERID", "org-1"},
                                                        {"CW_SCIM_BEARER_TOKEN", "secret"}})));
  EXPECT_EQ(settings.source_kind, "files");
  EXPECT_EQ(settings.destination.url, "https://hub/scim");
  EXPECT_EQ(settings.prefix, "mine:");
  EXPECT_FALSE(settings.replace_members);
  EXPECT_TRUE(settings.destination_token.empty()) << "it is for another server";
}

// What `kubectl create secret --from-file` makes of a file ends as the file does.
TEST_F(SettingsTest, ATokenMayEndWithANewline) {
  ASSERT_TRUE(settings.read_environment(environment_of({{"ROSTER_SYNC_TOKEN", "secret\n"}})));
  EXPECT_EQ(settings.destination_token.expose(), "secret");
}

// An empty selection would mean everybody.
TEST_F(SettingsTest, ASelectionThatNamesNobodyIsAnError) {
  const auto read = settings.read_environment(
      environment_of({{"ACTIVATE_API_KEY", "pwt_aGk.secret"}, {"ACTIVATE_SYNC_GROUPS", " , "}}));
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("ACTIVATE_SYNC_GROUPS"));
}

TEST_F(SettingsTest, ATokenWithoutItsOrganizationIsMissed) {
  const auto read = settings.read_environment(environment_of({{"CW_SCIM_ORG_USERID", "org-1"}}));
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("CW_SCIM_BEARER_TOKEN"));
}

TEST_F(SettingsTest, AFileSaysEverything) {
  const auto file = write(R"(
prefix = "x:"
groups = ["dev"]
homes_and_shells = true
[shrink]
people = 3
percent = 50
[source]
kind = "ldap"
schema = "rfc2307bis"
url = "ldaps://ldap.example.org"
people_base = "ou=people,dc=example,dc=org"
inactive = ["nsAccountLock"]
[source.attributes]
key = "ipaUniqueID"
ssh_keys = "ipaSshPubKey"
[destination]
url = "https://hub/scim/"
replace_members = true
)");
  const auto read = settings.read_file(file);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(settings.ldap.key, "ipaUniqueID");
  EXPECT_EQ(settings.ldap.ssh_keys, "ipaSshPubKey");
  EXPECT_FALSE(settings.ldap.member.empty());  // of the schema
  EXPECT_THAT(settings.ldap.inactive, ElementsAre("nsAccountLock"));
  EXPECT_EQ(settings.run_options().plan.shrink_people_max, 3U);
  EXPECT_TRUE(settings.run_options().homes_and_shells);
}

TEST_F(SettingsTest, AnEmptySelectionIsNotEverybody) {
  for (const char* groups : {"[]", "[\"\"]", "[\"dev\", \"\"]"}) {
    const auto read = settings.read_file(write("groups = " + std::string(groups) + "\n"));
    ASSERT_FALSE(read) << groups;
    EXPECT_THAT(read.error().message, HasSubstr("groups: holds no name"));
  }
  ASSERT_TRUE(settings.read_file(write("groups = [\"dev\"]\n")));
  EXPECT_THAT(settings.groups, ElementsAre("dev"));
}

TEST_F(SettingsTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(settings.read_file(write("[source]\nkimd = \"scim\"\n")).error().message,
              HasSubstr("source.kimd"));
  EXPECT_THAT(settings.read_file(write("[source]\nschema = \"x500\"\n")).error().message,
              HasSubstr("source.schema"));
  Settings fresh;
  EXPECT_THAT(open().error().message, HasSubstr("source.kind"));
  settings.source_kind = "scim";
  EXPECT_THAT(open().error().message, HasSubstr("source.url"));
  settings.source.url = "https://hub/scim";
  EXPECT_THAT(open().error().message, HasSubstr("source.token_file"));
}

}  // namespace
}  // namespace roster::sync
