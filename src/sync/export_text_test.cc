#include "sync/export_text.h"

#include <gtest/gtest.h>

namespace roster::sync {
namespace {

Exported alice() {
  return {.state = Exported::State::kActive,
          .is_group = false,
          .name = "alice",
          .number = 2001,
          .gid = 2001,
          .gecos = "Alice Ä",
          .home = "/home/alice",
          .shell = "",
          .resource = "alice@example.org",
          .external_id = "E,1",
          .client = "okta",
          .members = {}};
}

Exported lab() {
  Exported group;
  group.is_group = true;
  group.name = "lab";
  group.number = group.gid = 2500;
  group.resource = "Laboratory \"1\"";
  group.members = {"alice", "bob"};
  return group;
}

std::string text(const Exported& entry, const ExportOptions& options) {
  const auto lines = export_entry(entry, options);
  return lines ? *lines : "error: " + lines.error().message;
}

TEST(ExportTextTest, Passwd) {
  const ExportOptions people;
  EXPECT_EQ(text(alice(), people), "alice:x:2001:2001:Alice Ä:/home/alice:/bin/bash\n");
  EXPECT_EQ(text(lab(), people), "");
  Exported locked = alice();
  locked.state = Exported::State::kLocked;
  locked.home = "";
  EXPECT_EQ(text(locked, people), "alice:!:2001:2001:Alice Ä:/home/alice:/usr/sbin/nologin\n");
  locked.state = Exported::State::kDeleted;
  EXPECT_EQ(text(locked, people), "");
  ExportOptions groups;
  groups.groups = true;
  EXPECT_EQ(text(lab(), groups), "lab:x:2500:alice,bob\n");
  EXPECT_EQ(text(alice(), groups), "alice:x:2001:\n");
  Exported shared = alice();
  shared.gid = 2500;
  EXPECT_EQ(text(shared, groups), "");
}

// A hub that lies writes no line of its choice into a passwd file.
TEST(ExportTextTest, NothingFromAHubEndsALine) {
  for (const ImportFormat format :
       {ImportFormat::kPasswd, ImportFormat::kLdif, ImportFormat::kCsv}) {
    ExportOptions options;
    options.format = format;
    const auto refused = [&options](auto change) {
      Exported entry = alice();
      change(entry);
      return !export_entry(entry, options);
    };
    EXPECT_TRUE(refused([](auto& e) { e.name = "a:b"; }));
    EXPECT_TRUE(refused([](auto& e) { e.name = "a\nroot"; }));
    EXPECT_TRUE(refused([](auto& e) { e.gecos = "a:0:0"; }));
    EXPECT_TRUE(refused([](auto& e) { e.home = "/home/a\nb"; }));
    EXPECT_TRUE(refused([](auto& e) { e.shell = "bash"; }));
    EXPECT_TRUE(refused([](auto& e) { e.members = {"a,b"}; }));
    EXPECT_TRUE(refused([](auto& e) { e.resource = "a\nb"; }));
  }
}

/// What an import reads of an export.
ImportList again(ImportFormat format, const std::vector<Exported>& entries,
                 const std::string& user_name = "{login}") {
  ImportOptions options;
  options.user_name = user_name;
  ImportList list;
  for (const bool groups : {false, true}) {
    ExportOptions wanted;
    wanted.format = format;
    wanted.groups = groups;
    std::string whole = export_head(wanted);
    for (const Exported& entry : entries) whole += text(entry, wanted);
    add_import_text(list, format, groups ? "groups" : "people", whole, groups, options);
  }
  EXPECT_TRUE(finish_import(list, options));
  EXPECT_EQ(list.problem_count, 0U);
  return list;
}

TEST(ExportTextTest, EveryFormatComesBack) {
  Exported bob = alice();
  bob.name = "bob";
  bob.number = 2002;
  bob.gid = 2500;
  bob.state = Exported::State::kLocked;
  bob.home = bob.gecos = "";
  bob.resource = "bob@example.org";
  for (const ImportFormat format :
       {ImportFormat::kPasswd, ImportFormat::kLdif, ImportFormat::kCsv}) {
    const ImportList list = again(format, {alice(), bob, lab()}, "{login}@example.org");
    ASSERT_EQ(list.entries.size(), 3U);
    EXPECT_EQ(list.entries[0].name, "lab");
    EXPECT_EQ(list.entries[0].number, 2500U);
    EXPECT_EQ(list.entries[1].name, "alice");
    EXPECT_EQ(list.entries[1].gecos, "Alice Ä");
    EXPECT_EQ(list.entries[1].home, "/home/alice");
    EXPECT_EQ(list.entries[1].user_name, "alice@example.org");
    EXPECT_EQ(list.entries[2].number, 2002U);
    EXPECT_EQ(list.entries[2].gid, 2500U);
    EXPECT_EQ(list.memberships, 2U);
  }
  const ImportList csv = again(ImportFormat::kCsv, {alice(), bob, lab()});
  EXPECT_EQ(csv.entries[0].user_name, "Laboratory \"1\"");
  EXPECT_EQ(csv.entries[1].external_id, "E,1");
  EXPECT_EQ(csv.entries[1].client, "okta");
  EXPECT_EQ(csv.entries[2].home, "") << "left to the settings";
  const ImportList mail = again(ImportFormat::kLdif, {alice()}, "{mail}");
  EXPECT_EQ(mail.entries[0].user_name, "alice@example.org");
}

}  // namespace
}  // namespace roster::sync
