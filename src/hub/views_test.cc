#include "hub/views.h"

#include <gtest/gtest.h>

#include "feed/messages.h"

namespace roster::hub {
namespace {

posix::NodeUser alice() {
  posix::NodeUser user{.n = 7,
                       .seq = Seq{3},
                       .name = *posix::LoginName::parse("alice"),
                       .uid = 10'000,
                       .gid = 10'000,
                       .gecos = "Alice",
                       .home = "/home/alice",
                       .shell = "/bin/bash",
                       .locked = false,
                       .valid_until = 0,
                       .groups = {20, 30},
                       .keys = {}};
  user.keys.push_back({.line = "ssh-ed25519 AAAA", .fingerprint = "SHA256:x"});
  return user;
}

directory::Org acme() {
  directory::Org org;
  org.slug = "acme";
  org.epoch = "one";
  return org;
}

TEST(Views, ComputeNodesGetNoKeys) {
  EXPECT_EQ(project(*find_view("default"), alice()), alice());
  EXPECT_EQ(project(*find_view("login"), alice()), alice());
  const auto shown = project(*find_view("compute"), alice());
  ASSERT_TRUE(shown);
  EXPECT_TRUE(shown->keys.empty());
  EXPECT_EQ(shown->groups, alice().groups);
  EXPECT_FALSE(find_view("nonsense"));
  EXPECT_FALSE(find_view(""));
}

TEST(Views, ScopeIsDirectMembership) {
  View view = *find_view("default");
  view.scope_groups = {30, 40};
  EXPECT_TRUE(project(view, alice()));
  view.scope_groups = {40};
  EXPECT_FALSE(project(view, alice()));
}

TEST(Views, TemplatesReplaceHomeAndShellButNotTheLockedShell) {
  View view = *find_view("default");
  const std::vector<std::string> prefixes = {"/lustre/home"};
  view.home =
      *posix::HomeTemplate::parse("/lustre/home/{login}", *posix::HomePrefixes::parse(prefixes));
  view.shell = "/bin/zsh";
  EXPECT_EQ(project(view, alice())->home, "/lustre/home/alice");
  EXPECT_EQ(project(view, alice())->shell, "/bin/zsh");
  posix::NodeUser locked = alice();
  locked.locked = true;
  locked.shell = "/usr/sbin/nologin";
  EXPECT_EQ(project(view, locked)->shell, "/usr/sbin/nologin");
}

TEST(Views, EpochIsOfTheHistoryAndTheDefinition) {
  const View view = *find_view("default");
  const std::string epoch = view_epoch(acme(), view);
  EXPECT_TRUE(feed::is_epoch_text(epoch));
  EXPECT_EQ(view_epoch(acme(), view), epoch);
  directory::Org restored = acme();
  restored.epoch = "two";
  EXPECT_NE(view_epoch(restored, view), epoch);
  EXPECT_NE(view_epoch(acme(), *find_view("login")), epoch);
  View scoped = view;
  scoped.scope_groups = {1};
  EXPECT_NE(view_epoch(acme(), scoped), epoch);
  directory::Org later = acme();
  later.seq = Seq{99};
  EXPECT_EQ(view_epoch(later, view), epoch);
}

}  // namespace
}  // namespace roster::hub
